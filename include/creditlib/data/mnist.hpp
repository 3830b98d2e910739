// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/data/dataset.hpp>
#include <creditlib/data/detail/idx_folder.hpp>
#include <filesystem>

namespace creditlib::data {

/// MNIST, or another data set of 10 classes in the same format: 60,000 + 10,000 images of 1 x 28 x 28. `folder`
/// contains the four files train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
/// t10k-labels-idx1-ubyte, plain or .gz, or the folder MNIST/raw with them.
///
/// - Throws Error, naming the file, if one is missing, truncated, or has a label out of range.
/// - Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits" (1998).
inline Splits mnist(const std::filesystem::path& folder) {
  const Dataset mnist{.name = "mnist", .classes = 10, .pixel_max = 255, .mean = {0.1307}, .deviation = {0.3081}};
  return detail::read_idx_folder(
      mnist, folder, {"MNIST/raw", "raw"},
      "download the four MNIST files, train- and t10k-, images and labels, and put them there");
}

}  // namespace creditlib::data
