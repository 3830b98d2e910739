// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cmath>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace creditlib {
namespace detail {

/// Throws Error, prefixed with `where`, for the first of the labels (N) outside 0..classes-1.
inline void check_labels(const std::string& where, const torch::Tensor& labels, std::int64_t classes) {
  const auto wrong = torch::logical_or(labels < 0, labels >= classes).nonzero();
  if (wrong.size(0) == 0) return;
  const auto index = wrong[0].item<std::int64_t>();
  fail(where, ": label ", labels[index].item<std::int64_t>(), " of image ", index, " is out of range, expected 0 to ",
       classes - 1, ": the file is damaged or belongs to another data set.");
}

}  // namespace detail

namespace data {

/// Labeled images, held whole on one device: N images of C channels, H by W.
struct Dataset {
  std::string name = {};
  torch::Tensor images = {};  ///< (N, C, H, W), uint8
  torch::Tensor labels = {};  ///< (N), int64, each in 0..classes-1
  std::int64_t classes = 0;
  double pixel_max = 255;                         ///< the pixel value that means 1
  std::vector<double> mean = {}, deviation = {};  ///< of pixel / pixel_max, one per channel, for Normalize

  std::int64_t size() const { return images.size(0); }

  /// The first n images, sharing storage. Throws Error unless 1 <= n <= size().
  Dataset first(std::int64_t n) const {
    if (n < 1 || n > size()) {
      detail::fail("Dataset ", name, ": the first ", n, " images were asked for, expected 1 to ", size(), ".");
    }
    Dataset part = *this;
    part.images = images.narrow(0, 0, n);
    part.labels = labels.narrow(0, 0, n);
    return part;
  }

  /// A copy on another device.
  Dataset to(torch::Device device) const {
    Dataset moved = *this;
    detail::translated([&] {
      moved.images = images.to(device);
      moved.labels = labels.to(device);
    });
    return moved;
  }

  /// Returns this data set after checking all that is said of its members above; Batches calls it at construction.
  /// Waits for the device.
  ///
  /// - Throws Error naming the member, or the index and value of the first label out of range.
  const Dataset& checked() const {
    const std::string who = "Dataset " + name;
    const auto fail = [&](const auto&... parts) { detail::fail(who, ": ", parts..., "."); };
    if (!images.defined() || images.dim() != 4 || images.scalar_type() != torch::kUInt8) {
      fail("images are ", detail::tensor_text(images), ", expected (N, C, H, W) uint8");
    }
    if (images.numel() == 0)
      fail("images are ", detail::tensor_text(images), ", expected at least one image of at least one pixel");
    if (!labels.defined() || labels.dim() != 1 || labels.scalar_type() != torch::kInt64 || labels.size(0) != size()) {
      fail("labels are ", detail::tensor_text(labels), ", expected (", size(), ") int64, one label per image");
    }
    if (labels.device() != images.device()) {
      fail("images are on ", images.device(), ", but labels are on ", labels.device());
    }
    const auto positive = [](double value) { return value > 0 && std::isfinite(value); };
    if (!positive(pixel_max)) fail("pixel_max is ", pixel_max, ", expected a finite number > 0");
    const auto channels = static_cast<std::size_t>(images.size(1));
    if (mean.size() != channels || deviation.size() != channels) {
      fail("mean has ", mean.size(), " values and deviation ", deviation.size(), ", expected one per channel, ",
           channels);
    }
    for (const double value : deviation) {
      if (!positive(value)) fail("deviation has the value ", value, ", expected a finite number > 0");
    }
    for (const double value : mean) {
      if (!std::isfinite(value)) fail("mean has the value ", value, ", expected a finite number");
    }
    detail::check_labels(who, labels, classes);
    return *this;
  }
};

/// A training and a test set.
struct Splits {
  Dataset train = {}, test = {};
  bool augment = false;  ///< whether training on it customarily uses random crops and flips
};

}  // namespace data
}  // namespace creditlib
