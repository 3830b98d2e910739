// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/data/dataset.hpp>
#include <creditlib/data/detail/class_folders.hpp>
#include <creditlib/data/detail/decode_image.hpp>
#include <creditlib/data/detail/measured_pixels.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

namespace creditlib::data {

/// How image_folder reads images.
struct ImageFolderOptions {
  std::int64_t channels = 3;            ///< 3 for RGB, 1 for gray
  std::vector<std::int64_t> size = {};  ///< {H, W} to resize all images to; by default all must have one size
  std::vector<std::string> classes =
      {};  ///< the folders' names by label, such as a training set's; default: all, sorted
  std::vector<double> mean = {}, deviation = {};  ///< for Normalize, one per channel; default: those of these images
};

/// What image_folder read.
struct ImageFolder {
  Dataset dataset = {};
  std::vector<std::string> classes = {};  ///< the name of each class, by its label
};

/// Reads a folder with one folder of PNG and JPEG images per class.
///
///     const auto train = data::image_folder("flowers/train", {.size = {64, 64}});
///     const auto test = data::image_folder("flowers/test", {.size = {64, 64},
///                                                           .classes = train.classes,
///                                                           .mean = train.dataset.mean,
///                                                           .deviation = train.dataset.deviation});
///
/// - The names of the folders, sorted, are the classes 0, 1, and so on; images come class by class, sorted by path,
///   also from folders within. Files whose names begin with a period are skipped.
/// - Images are 8 bits per channel. Transparent and semi-transparent pixels are put on black, in linear light. Gray is luma (.299 R + .587 G + .114 B).
/// - Resizing is bilinear, smoothed where it shrinks, and does not keep proportions. EXIF orientation is not applied.
/// - Cost: all images are in memory, one byte per value.
/// - Throws Error, naming the file, if one is damaged, of another size than the first (without `size`), of 16 bits per
///   channel, or named other than .png, .jpg or .jpeg; naming the folder, if it is missing, has no images, or is not in
///   `classes`; and if this build has no libpng and libjpeg (CREDITLIB_WITH_IMAGES).
inline ImageFolder image_folder(const std::filesystem::path& folder, const ImageFolderOptions& options = {}) {
  const std::string who = "image_folder";
  detail::expect::that(options.channels == 1 || options.channels == 3, "image_folder", "channels", options.channels,
                       "1 or 3");
  if (!options.size.empty() && (options.size.size() != 2 || std::ranges::min(options.size) < 1)) {
    detail::fail(who, ": size is ", detail::shape_text(options.size), ", expected {H, W}, each at least 1.");
  }
  const auto channels = static_cast<std::size_t>(options.channels);
  const bool measured = options.mean.empty() && options.deviation.empty();
  if (!measured && (options.mean.size() != channels || options.deviation.size() != channels)) {
    detail::fail(who, ": mean has ", options.mean.size(), " values and deviation ", options.deviation.size(),
                 ", expected one per channel, ", channels, ", or none in both.");
  }

  const auto found = detail::class_folders(who, folder);
  ImageFolder result{.dataset = {.name = folder.filename().string()},
                     .classes = options.classes.empty() ? found : options.classes};
  std::vector<std::pair<std::filesystem::path, std::int64_t>> files;
  for (const auto& name : found) {
    const auto at = std::ranges::find(result.classes, name);
    if (at == result.classes.end()) {
      detail::fail(who, ": ", folder / name, " is not among the ", result.classes.size(),
                   " classes of ImageFolderOptions: add it, or remove the folder.");
    }
    for (auto& file : detail::images_in(who, folder / name)) {
      files.emplace_back(std::move(file), at - result.classes.begin());
    }
  }

  auto& dataset = result.dataset;
  std::vector<std::int64_t> labels;
  for (const auto& [file, label] : files) {
    auto image = detail::decoded_image(who, file);
    if (options.channels == 1) image = detail::gray_image(image);
    if (!options.size.empty()) image = detail::resized_image(image, options.size[0], options.size[1]);
    if (labels.empty()) {
      const auto count = static_cast<std::int64_t>(files.size());
      dataset.images = torch::empty({count, options.channels, image.size(1), image.size(2)}, torch::kUInt8);
    }
    if (image.sizes() != dataset.images[0].sizes()) {
      detail::fail(who, ": ", file, " is ", image.size(1), " x ", image.size(2), " pixels, and ", files.front().first,
                   " is ", dataset.images.size(2), " x ", dataset.images.size(3),
                   ": set ImageFolderOptions::size to resize them.");
    }
    dataset.images[static_cast<std::int64_t>(labels.size())].copy_(image);
    labels.push_back(label);
  }
  dataset.labels = torch::tensor(labels, torch::kInt64);
  dataset.classes = static_cast<std::int64_t>(result.classes.size());
  std::tie(dataset.mean, dataset.deviation) =
      measured ? detail::measured_pixels(dataset) : std::pair(options.mean, options.deviation);
  dataset.checked();
  return result;
}

}  // namespace creditlib::data
