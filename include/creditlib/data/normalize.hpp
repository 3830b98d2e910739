#pragma once

#include <torch/types.h>

#include <creditlib/data/dataset.hpp>
#include <creditlib/error.hpp>
#include <vector>

namespace creditlib::data {

/// Pixels as a network takes them, channel by channel:
///
///     x = (pixel / pixel_max - mean) / deviation
///
/// In that order of operations, which is that of torchvision's ToTensor and Normalize, so that the bits are theirs. The
/// constants are kept on the data set's device as tensors (a division by a plain number is a multiplication by its
/// inverse on CUDA), so that CPU and CUDA agree to the bit and nothing waits for a copy.
class Normalize {
 public:
  /// Throws Error unless dtype is float32 or float64, or if the data set is not sound (see Dataset::checked).
  explicit Normalize(const Dataset& dataset, torch::Dtype dtype = torch::kFloat32) : dtype_(dtype) {
    if (dtype != torch::kFloat32 && dtype != torch::kFloat64) {
      detail::fail("Normalize: dtype is ", detail::dtype_text(dtype), ", expected float32 or float64: convert the batch afterwards");
    }
    const auto& sound = dataset.checked();
    const auto constants = [&](const std::vector<double>& values) {
      return torch::tensor(values, torch::kFloat64).to(dtype).to(sound.images.device()).view({1, -1, 1, 1});
    };
    pixel_max_ = constants({sound.pixel_max});
    mean_ = constants(sound.mean);
    deviation_ = constants(sound.deviation);
  }

  /// images (B, C, H, W), uint8, to the same shape in dtype.
  torch::Tensor operator()(const torch::Tensor& images) const {
    return detail::translated([&] {
      return images.to(dtype_, /*non_blocking=*/false, /*copy=*/true).div_(pixel_max_).sub_(mean_).div_(deviation_);
    });
  }

 private:
  torch::Dtype dtype_;
  torch::Tensor pixel_max_, mean_, deviation_;
};

/// The same for images of `dataset` that are normalised once.
inline torch::Tensor normalise(const torch::Tensor& images, const Dataset& dataset,
                               torch::Dtype dtype = torch::kFloat32) {
  return Normalize(dataset, dtype)(images);
}

using Normalise = Normalize;  // deprecated name

}  // namespace creditlib::data
