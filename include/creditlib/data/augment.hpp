#pragma once

#include <torch/types.h>

#include <creditlib/data/dataset.hpp>
#include <creditlib/error.hpp>
#include <cstdint>

namespace creditlib {
namespace detail {

inline void check_crop_and_flip(const torch::Tensor& images, const torch::Tensor& dy, const torch::Tensor& dx,
                                const torch::Tensor& flip, std::int64_t padding) {
  if (!images.defined() || images.dim() != 4) {
    fail("crop_and_flip: images are ", described(images), ", expected (B, C, H, W)");
  }
  if (padding < 0) fail("crop_and_flip: padding is ", padding, ", expected 0 or more");
  const auto check = [&](const char* name, const torch::Tensor& draws, torch::Dtype dtype) {
    if (!draws.defined() || draws.scalar_type() != dtype || draws.dim() != 1 || draws.size(0) != images.size(0)) {
      fail("crop_and_flip: ", name, " is ", described(draws), ", expected ", dtype, " [", images.size(0), "]");
    }
    if (draws.device() != images.device()) {
      fail("crop_and_flip: ", name, " is on ", draws.device(), ", images are on ", images.device());
    }
    if (dtype == torch::kInt64 && draws.is_cpu() && (draws < 0).logical_or(draws > 2 * padding).any().item<bool>()) {
      fail("crop_and_flip: ", name, " is ", draws.min().item<std::int64_t>(), " to ", draws.max().item<std::int64_t>(),
           ", expected 0 to ", 2 * padding, ", twice the padding");
    }
  };
  check("dy", dy, torch::kInt64);
  check("dx", dx, torch::kInt64);
  check("flip", flip, torch::kBool);
}

}  // namespace detail

namespace data {

/// Each image, with a border of `padding` zero pixels around it, cropped to its old size and then flipped left to
/// right:
///
///     y[b, c, i, j] = padded x[b, c, i + dy[b], (flip[b] ? W - 1 - j : j) + dx[b]]
///
/// images (B, C, H, W) of pixels not normalised yet (the border is black, as torchvision's RandomCrop on an image has
/// it); dy, dx (B), int64, 0..2 padding, drawn uniformly for a random crop, `padding` for none; flip (B), bool. All on
/// one device, where everything is done for the whole batch at once; the result is new and contiguous.
///
/// Throws Error if shapes, dtypes or devices are others, or an offset on the CPU is out of range (on CUDA it is not
/// looked at, since that would wait for the device).
inline torch::Tensor crop_and_flip(const torch::Tensor& images, const torch::Tensor& dy, const torch::Tensor& dx,
                                   const torch::Tensor& flip, std::int64_t padding = 4) {
  detail::check_crop_and_flip(images, dy, dx, flip, padding);
  return detail::translated([&] {
    const auto padded = torch::constant_pad_nd(images, {padding, padding, padding, padding});
    const auto crops = padded.unfold(2, images.size(2), 1).unfold(3, images.size(3), 1);  // a view of all there are
    const auto each = torch::arange(images.size(0), dy.options());
    const auto cropped = crops.index({each, torch::indexing::Slice(), dy, dx});
    return torch::where(flip.view({-1, 1, 1, 1}), cropped.flip(3), cropped).contiguous();
  });
}

}  // namespace data
}  // namespace creditlib
