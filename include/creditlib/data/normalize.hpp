// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/data/dataset.hpp>
#include <creditlib/error.hpp>
#include <vector>

namespace creditlib::data {

/// Converts pixels to a network's input, channel by channel.
///
///     x = (pixel / pixel_max - mean) / deviation
///
/// The operations are in the order of torchvision's ToTensor and Normalize and give the same bits. The constants are
/// tensors on the data set's device (on CUDA a division by a plain number would become a multiplication by its
/// inverse), so that CPU and CUDA agree to the bit and nothing waits for a copy.
class Normalize {
 public:
  /// Throws Error unless dtype is float32 or float64 and the data set is valid (see Dataset::checked).
  explicit Normalize(const Dataset& dataset, torch::Dtype dtype = torch::kFloat32) : dtype_(dtype) {
    if (dtype != torch::kFloat32 && dtype != torch::kFloat64) {
      detail::fail("Normalize: dtype is ", detail::dtype_text(dtype),
                   ", expected float32 or float64: convert the batch afterwards.");
    }
    const auto& valid = dataset.checked();
    const auto constants = [&](const std::vector<double>& values) {
      return torch::tensor(values, torch::kFloat64).to(dtype).to(valid.images.device()).view({1, -1, 1, 1});
    };
    pixel_max_ = constants({valid.pixel_max});
    mean_ = constants(valid.mean);
    deviation_ = constants(valid.deviation);
  }

  /// Maps images (B, C, H, W), uint8, to the same shape in dtype.
  torch::Tensor operator()(const torch::Tensor& images) const {
    return detail::translated([&] {
      return images.to(dtype_, /*non_blocking=*/false, /*copy=*/true).div_(pixel_max_).sub_(mean_).div_(deviation_);
    });
  }

 private:
  torch::Dtype dtype_;
  torch::Tensor pixel_max_, mean_, deviation_;
};

/// Normalizes images of `dataset` once.
inline torch::Tensor normalize(const torch::Tensor& images, const Dataset& dataset,
                               torch::Dtype dtype = torch::kFloat32) {
  return Normalize(dataset, dtype)(images);
}

using Normalise = Normalize;  // deprecated name
// deprecated name
inline torch::Tensor normalise(const torch::Tensor& images, const Dataset& dataset,
                               torch::Dtype dtype = torch::kFloat32) {
  return normalize(images, dataset, dtype);
}

}  // namespace creditlib::data
