// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/error.hpp>
#include <cstdint>

namespace creditlib {
namespace detail {

inline void check_crop_and_flip(const torch::Tensor& images, const torch::Tensor& dy, const torch::Tensor& dx,
                                const torch::Tensor& flip, std::int64_t padding) {
  if (!images.defined() || images.dim() != 4) {
    fail("crop_and_flip: images are ", tensor_text(images), ", expected (B, C, H, W).");
  }
  expect::at_least("crop_and_flip", "padding", padding, 0);
  const auto check = [&](const char* name, const torch::Tensor& draws, torch::Dtype dtype) {
    if (!draws.defined() || draws.scalar_type() != dtype || draws.dim() != 1 || draws.size(0) != images.size(0)) {
      fail("crop_and_flip: ", name, " is ", tensor_text(draws), ", expected (", images.size(0), ") ", dtype_text(dtype),
           ".");
    }
    if (draws.device() != images.device()) {
      fail("crop_and_flip: ", name, " is on ", draws.device(), ", but images are on ", images.device(), ".");
    }
    if (dtype == torch::kInt64 && draws.is_cpu() && (draws < 0).logical_or(draws > 2 * padding).any().item<bool>()) {
      fail("crop_and_flip: ", name, " is ", draws.min().item<std::int64_t>(), " to ", draws.max().item<std::int64_t>(),
           ", expected 0 to ", 2 * padding, ", twice the padding.");
    }
  };
  check("dy", dy, torch::kInt64);
  check("dx", dx, torch::kInt64);
  check("flip", flip, torch::kBool);
}

}  // namespace detail

namespace data {

/// Adds a border of `padding` zero pixels to each image, crops it to its old size, and flips it left to right if
/// flip[b] is true.
///
///     y[b, c, i, j] = padded x[b, c, i + dy[b], (flip[b] ? W - 1 - j : j) + dx[b]]
///
/// - images: (B, C, H, W), pixels before normalization, so that the border is black, as in torchvision's RandomCrop on
///   an image.
/// - dy, dx: (B), int64, in 0..2 padding; drawn uniformly for a random crop, `padding` for none. flip: (B), bool.
/// - All tensors are on one device, which processes the whole batch at once; the result is new and contiguous.
/// - Throws Error for a wrong shape, dtype or device, and for an offset on the CPU that is out of range (on CUDA
///   offsets are not checked, since that would wait for the device).
inline torch::Tensor crop_and_flip(const torch::Tensor& images, const torch::Tensor& dy, const torch::Tensor& dx,
                                   const torch::Tensor& flip, std::int64_t padding = 4) {
  detail::check_crop_and_flip(images, dy, dx, flip, padding);
  return detail::translated([&] {
    const auto channels = images.size(1), height = images.size(2), width = images.size(3);
    const auto counted = [&](std::int64_t end) { return torch::arange(end, dy.options()); };
    const auto column = torch::where(flip.view({-1, 1}), width - 1 - counted(width), counted(width)) + dx.view({-1, 1});
    const auto row = counted(height) + dy.view({-1, 1});
    // The index of each pixel's source in the padded image, row by row: (B, H, 1) + (B, 1, W).
    const auto from = (row * (width + 2 * padding)).unsqueeze(2) + column.unsqueeze(1);
    const auto padded = torch::constant_pad_nd(images, {padding, padding, padding, padding});
    return padded.flatten(2).gather(2, from.flatten(1).unsqueeze(1).expand({-1, channels, -1})).view(images.sizes());
  });
}

}  // namespace data
}  // namespace creditlib
