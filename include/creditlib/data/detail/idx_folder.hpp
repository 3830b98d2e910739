// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/data/dataset.hpp>
#include <creditlib/data/detail/folder.hpp>
#include <creditlib/data/detail/measured_pixels.hpp>
#include <creditlib/data/idx.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <filesystem>
#include <string>
#include <tuple>
#include <vector>

namespace creditlib::detail {

/// What differs between data sets in MNIST's format.
struct IdxFormat {
  std::string train = "train", test = "t10k";  ///< how the names of the files begin
  bool label_columns = false;                  ///< labels are (N, columns) int32 in idx2-int, the class first
  std::int64_t first_label = 0;                ///< the file's label of class 0
  bool transposed = false;                     ///< images are stored column by column
};

/// The names that a file of `part` may have, such as train-images-idx3-ubyte or train-images.idx3-ubyte.gz.
inline std::vector<std::string> idx_names(const std::string& part, const std::string& kind, const std::string& type) {
  const auto name = part + "-" + kind;
  return {name + "-" + type, name + "." + type, name + "-" + type + ".gz", name + "." + type + ".gz"};
}

/// The first of these files that is in `folder`, or the first if none is.
inline std::filesystem::path first_there(const std::filesystem::path& folder, const std::vector<std::string>& names) {
  for (const auto& name : names) {
    if (std::filesystem::exists(folder / name)) return folder / name;
  }
  return folder / names.front();
}

/// Reads images and labels of `part` from their files in `folder`.
inline data::Dataset read_idx_part(data::Dataset dataset, const std::filesystem::path& folder, const std::string& part,
                                   const IdxFormat& format, const std::string& cure) {
  const auto images_file = first_there(folder, idx_names(part, "images", "idx3-ubyte"));
  const auto labels_file =
      first_there(folder, idx_names(part, "labels", format.label_columns ? "idx2-int" : "idx1-ubyte"));
  const auto images = data::read_idx(images_file, cure);
  auto labels = data::read_idx(labels_file, cure);
  if (images.dim() != 3 || images.scalar_type() != torch::kUInt8 || images.numel() == 0) {
    fail(dataset.name, ": ", images_file, " holds ", tensor_text(images), ", expected (N, H, W) uint8: ", cure, ".");
  }
  if (labels.dim() != (format.label_columns ? 2 : 1) || labels.size(0) != images.size(0) || labels.numel() == 0 ||
      labels.scalar_type() != (format.label_columns ? torch::kInt32 : torch::kUInt8)) {
    fail(dataset.name, ": ", labels_file, " holds ", tensor_text(labels), ", expected (", images.size(0),
         format.label_columns ? ", columns) int32, one row" : ") uint8, one label", " per image of ", images_file, ": ",
         cure, ".");
  }
  const auto brightest = images.max().item<double>();
  if (brightest > dataset.pixel_max) {
    fail(dataset.name, ": ", images_file, " has a pixel of ", brightest, ", expected 0 to ", dataset.pixel_max,
         ": it is damaged or belongs to another data set.");
  }
  if (format.label_columns) labels = labels.select(1, 0);
  dataset.images = (format.transposed ? images.transpose(1, 2).contiguous() : images).unsqueeze(1);
  dataset.labels = labels.to(torch::kInt64) - format.first_label;
  const auto where = c10::str(dataset.name, ": ", labels_file);
  check_labels(format.first_label == 0 ? where : c10::str(where, " (less ", format.first_label, ")"), dataset.labels,
               dataset.classes);
  return dataset;
}

/// A data set in MNIST's format, in `folder` or the first of its subfolders `under` that has it. If `dataset` has no
/// mean, its mean and deviation are those of the training images.
inline data::Splits read_idx_folder(const data::Dataset& dataset, const std::filesystem::path& folder,
                                    const std::vector<std::string>& under, const std::string& cure,
                                    const IdxFormat& format = {}) {
  auto marks = idx_names(format.train, "images", "idx3-ubyte");
  for (const auto& name : idx_names(format.test, "images", "idx3-ubyte")) marks.push_back(name);
  const auto place = data_folder(dataset.name, folder, under, marks, cure);
  data::Splits splits{.train = read_idx_part(dataset, place, format.train, format, cure),
                      .test = read_idx_part(dataset, place, format.test, format, cure)};
  if (dataset.mean.empty()) {
    std::tie(splits.train.mean, splits.train.deviation) = measured_pixels(splits.train);
    splits.test.mean = splits.train.mean;
    splits.test.deviation = splits.train.deviation;
  }
  return splits;
}

}  // namespace creditlib::detail
