// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/data/dataset.hpp>
#include <creditlib/data/detail/idx_folder.hpp>
#include <filesystem>

namespace creditlib::data {

/// The handwritten digits that come with the library (data/digits): 1,437 + 360 images of 1 x 8 x 8 in 10 classes,
/// pixels 0..16, in four files named like MNIST's. `folder` is data/digits or the folder that contains it.
///
/// - Throws Error, naming the file, if one is missing, truncated, or has a label or pixel out of range.
/// - Source: Alpaydin, Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository (1998),
///   https://doi.org/10.24432/C50P49.
inline Splits digits(const std::filesystem::path& folder) {
  const Dataset digits{.name = "digits", .classes = 10, .pixel_max = 16, .mean = {0.3054}, .deviation = {0.3755}};
  return detail::read_idx_folder(digits, folder, {"digits", "data/digits"},
                                 "take data/digits from creditlib's source, or make it with tools/make_digits.py");
}

}  // namespace creditlib::data
