// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/data/dataset.hpp>
#include <creditlib/data/detail/folder.hpp>
#include <creditlib/data/idx.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <utility>

namespace creditlib::detail {

/// Reads images and labels from PART-images-idx3-ubyte and PART-labels-idx1-ubyte, or the same with .gz, in `folder`.
inline data::Dataset read_idx_part(data::Dataset dataset, const std::filesystem::path& folder, const std::string& part,
                                   const std::string& cure) {
  const auto file = [&](const std::string& kind) {
    const auto plain = folder / (part + kind), packed = folder / (part + kind + ".gz");
    return !std::filesystem::exists(plain) && std::filesystem::exists(packed) ? packed : plain;
  };
  const auto images_file = file("-images-idx3-ubyte"), labels_file = file("-labels-idx1-ubyte");
  const auto images = data::read_idx(images_file, cure), labels = data::read_idx(labels_file, cure);
  if (images.dim() != 3 || images.scalar_type() != torch::kUInt8 || images.numel() == 0) {
    fail(dataset.name, ": ", images_file, " holds ", tensor_text(images), ", expected (N, H, W) uint8: ", cure, ".");
  }
  if (labels.dim() != 1 || labels.scalar_type() != torch::kUInt8 || labels.size(0) != images.size(0)) {
    fail(dataset.name, ": ", labels_file, " holds ", tensor_text(labels), ", expected (", images.size(0),
         ") uint8, one label per image of ", images_file, ": ", cure, ".");
  }
  const auto brightest = images.max().item<double>();
  if (brightest > dataset.pixel_max) {
    fail(dataset.name, ": ", images_file, " has a pixel of ", brightest, ", expected 0 to ", dataset.pixel_max,
         ": it is damaged or belongs to another data set.");
  }
  dataset.images = images.unsqueeze(1);
  dataset.labels = labels.to(torch::kInt64);
  check_labels(c10::str(dataset.name, ": ", labels_file), dataset.labels, dataset.classes);
  return dataset;
}

/// A data set in MNIST's format, in `folder` or the first of its subfolders `under` that has it.
inline data::Splits read_idx_folder(const data::Dataset& dataset, const std::filesystem::path& folder,
                                    std::initializer_list<const char*> under, const std::string& cure) {
  const auto place =
      data_folder(dataset.name, folder, under,
                  {"train-images-idx3-ubyte", "train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte"}, cure);
  return {.train = read_idx_part(dataset, place, "train", cure), .test = read_idx_part(dataset, place, "t10k", cure)};
}

}  // namespace creditlib::detail
