// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <creditlib/data/dataset.hpp>
#include <creditlib/data/detail/idx_folder.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

namespace creditlib {
namespace detail {

/// A split of EMNIST.
struct EmnistSplit {
  const char* name;
  std::int64_t classes;
};

inline constexpr EmnistSplit emnist_splits[] = {{"byclass", 62}, {"bymerge", 47}, {"balanced", 47},
                                                {"letters", 26}, {"digits", 10},  {"mnist", 10}};

}  // namespace detail

namespace data {

/// EMNIST: handwritten letters and digits, 28 x 28, in files such as emnist-letters-train-images-idx3-ubyte. `split` is
/// one of
///
///     byclass 62 classes    bymerge 47    balanced 47    letters 26    digits 10    mnist 10
///
/// - `folder` has the split's four files, under the usual names (see mnist.hpp), or is one that has EMNIST/raw or gzip.
/// - The files hold each image transposed, left to right along its columns; here images are upright.
/// - In the files of `letters` the labels are 1 to 26; here they are 0 to 25, a to z.
/// - Normalized by the mean and the deviation of the split's training images.
/// - Throws Error for another split, and, naming the file, if one is missing, truncated, or has a label out of range.
/// - Source: Cohen, Afshar, Tapson, van Schaik, "EMNIST: an extension of MNIST to handwritten letters" (2017),
///   https://arxiv.org/abs/1702.05373.
inline Splits emnist(const std::filesystem::path& folder, const std::string& split) {
  const auto* found = std::ranges::find(detail::emnist_splits, split, &detail::EmnistSplit::name);
  if (found == std::end(detail::emnist_splits)) {
    std::vector<std::string> names;
    for (const auto& one : detail::emnist_splits) names.emplace_back(one.name);
    detail::fail("emnist: there is no split \"", split, "\": use ", detail::choice_text(names), ".");
  }
  return detail::read_idx_folder({.name = "emnist_" + split, .classes = found->classes, .pixel_max = 255}, folder,
                                 {"EMNIST/raw", "raw", "gzip", "EMNIST/raw/gzip", "EMNIST", "emnist"},
                                 "download EMNIST in its binary format (gzip.zip) and unpack it there",
                                 {.train = "emnist-" + split + "-train",
                                  .test = "emnist-" + split + "-test",
                                  .first_label = split == "letters" ? 1 : 0,
                                  .transposed = true});
}

}  // namespace data
}  // namespace creditlib
