// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/data/augment.hpp>
#include <creditlib/data/dataset.hpp>
#include <creditlib/data/normalize.hpp>
#include <creditlib/detail/team.hpp>
#include <cstdint>

namespace creditlib::detail {

/// How one image is moved: y[i, j] = x[i + down, (flip ? W - 1 - j : j) + right].
struct Move {
  std::int64_t down = 0, right = 0;
  bool flip = false;
};

/// Moves one channel of an image, x to y, both (H, W): y = value[moved x], with value[0], black, for pixels outside x.
template <class T>
void augment_channel(const std::uint8_t* x, std::int64_t height, std::int64_t width, const Move& move, const T* value,
                     T* y) {
  // Column j of y is column first + step j of x, which exists for j in begin..end-1.
  const auto first = (move.flip ? width - 1 : 0) + move.right, step = std::int64_t{move.flip ? -1 : 1};
  const auto begin = std::clamp<std::int64_t>(-step * move.right, 0, width);
  const auto end = std::clamp<std::int64_t>(width - step * move.right, 0, width);
  for (std::int64_t i = 0; i < height; ++i, y += width) {
    const auto row = i + move.down;
    if (row < 0 || row >= height) {
      std::fill(y, y + width, value[0]);
      continue;
    }
    const auto from = row * width + first;
    for (std::int64_t j = 0; j < begin; ++j) y[j] = value[0];
#pragma GCC unroll 8
    for (auto j = begin; j < end; ++j) y[j] = value[x[from + step * j]];
    for (auto j = end; j < width; ++j) y[j] = value[0];
  }
}

/// The draws for images, (B) each: their indices in the data set and the offsets of crop_and_flip, int64, and flip,
/// bool. dy, dx and flip are all undefined if images are not moved.
struct ImageDraws {
  torch::Tensor index = {}, dy = {}, dx = {}, flip = {};
};

/// Picks the images of a batch out of a data set, crops and flips them if so drawn, and normalizes them.
///
///     y = normalize(crop_and_flip(images[index], dy, dx, flip, padding))
///
/// On the CPU this is one pass from uint8 to y, with a table of Normalize's result for each of the 256 pixel values of
/// a channel, so the bits are the same as from the separate operations. Those are used on other devices, and for images
/// that are not contiguous.
class AugmentedImages {
 public:
  /// Throws what Normalize throws.
  AugmentedImages(const data::Dataset& dataset, torch::Dtype dtype, std::int64_t padding)
      : images_(dataset.images), normalize_(dataset, dtype), padding_(padding) {
    if (!images_.is_cpu() || !images_.is_contiguous()) return;
    value_ = normalize_(torch::arange(256, torch::kUInt8).view({1, 1, 1, 256}).repeat({1, images_.size(1), 1, 1}));
  }

  /// Returns y (B, C, H, W), new, in Normalize's dtype. The indices and the offsets, 0..2 padding, must be in range.
  torch::Tensor operator()(const ImageDraws& draws) const {
    if (value_.defined()) {
      const auto y =
          torch::empty({draws.index.size(0), images_.size(1), images_.size(2), images_.size(3)}, value_.options());
      if (y.scalar_type() == torch::kFloat32) {
        fill<float>(draws, y);
      } else {
        fill<double>(draws, y);
      }
      return y;
    }
    const auto images = images_.index_select(0, draws.index);
    if (!draws.flip.defined()) return normalize_(images);
    return normalize_(data::crop_and_flip(images, draws.dy, draws.dx, draws.flip, padding_));
  }

 private:
  template <class T>
  void fill(const ImageDraws& draws, const torch::Tensor& y) const {
    const auto batch = y.size(0), channels = y.size(1), height = y.size(2), width = y.size(3);
    const auto pixels = height * width;
    const auto* images = images_.data_ptr<std::uint8_t>();
    const auto* index = draws.index.data_ptr<std::int64_t>();
    const auto* value = value_.data_ptr<T>();
    auto* out = y.mutable_data_ptr<T>();
    const bool moved = draws.flip.defined();
    const auto* dy = moved ? draws.dy.data_ptr<std::int64_t>() : nullptr;
    const auto* dx = moved ? draws.dx.data_ptr<std::int64_t>() : nullptr;
    const auto* flip = moved ? draws.flip.data_ptr<bool>() : nullptr;

    const auto shares = std::clamp<std::int64_t>(batch * channels * pixels / 65536, 1, team_size());
    in_shares(shares, [&](std::int64_t share) {
      const auto end = batch * (share + 1) / shares;
      for (auto b = batch * share / shares; b < end; ++b) {
        const auto move = moved ? Move{dy[b] - padding_, dx[b] - padding_, flip[b]} : Move{};
        const auto next = b + 1 < end ? b + 1 : b;
        for (std::int64_t c = 0; c < channels; ++c) {
          // The next image may be anywhere in memory: prefetch it now, so that it has arrived when its turn comes.
          const auto* ahead = images + (index[next] * channels + c) * pixels;
          for (std::int64_t i = 0; i < pixels; i += 64) __builtin_prefetch(ahead + i);
          augment_channel(images + (index[b] * channels + c) * pixels, height, width, move, value + 256 * c,
                          out + (b * channels + c) * pixels);
        }
      }
    });
  }

  torch::Tensor images_;
  data::Normalize normalize_;
  std::int64_t padding_;
  torch::Tensor value_;  ///< (1, C, 1, 256); undefined if images are not processed in one pass
};

}  // namespace creditlib::detail
