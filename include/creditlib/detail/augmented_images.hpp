#pragma once

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <creditlib/data/augment.hpp>
#include <creditlib/data/dataset.hpp>
#include <creditlib/data/normalise.hpp>
#include <cstdint>

namespace creditlib::detail {

/// y[j] = value[x[j + shift]], or with flip y[W - 1 - j]; value[0], black, where x has no such pixel.
template <class T>
void augment_row(const std::uint8_t* x, std::int64_t width, std::int64_t shift, bool flip, const T* value, T* y) {
  const auto begin = std::clamp<std::int64_t>(-shift, 0, width);
  const auto end = std::clamp<std::int64_t>(width - shift, begin, width);
  if (flip) {
    std::fill(y + width - begin, y + width, value[0]);
    for (auto j = begin; j < end; ++j) y[width - 1 - j] = value[x[j + shift]];
    std::fill(y, y + width - end, value[0]);
  } else {
    std::fill(y, y + begin, value[0]);
    for (auto j = begin; j < end; ++j) y[j] = value[x[j + shift]];
    std::fill(y + end, y + width, value[0]);
  }
}

/// A batch's images, picked out of a data set by their index, cropped and flipped if so drawn, and normalised:
///
///     y = normalise(crop_and_flip(images[index], dy, dx, flip, padding))
///
/// On the CPU that is one pass from uint8 to the result, new and contiguous, through a table of what Normalise makes of
/// each of the 256 pixel values of a channel; so the bits are those of the operations one by one, which are what other
/// devices (and images whose rows are not contiguous) get.
class AugmentedImages {
 public:
  /// What is drawn for the images of a batch, (B) each: index and offsets int64, flip bool. Without dy, dx and flip,
  /// all undefined, the images stay as they are.
  struct Draws {
    torch::Tensor index, dy, dx, flip;
  };

  /// Throws what Normalise throws.
  AugmentedImages(const data::Dataset& dataset, torch::Dtype dtype, std::int64_t padding)
      : images_(dataset.images), normalise_(dataset, dtype), padding_(padding) {
    if (!images_.is_cpu() || images_.stride(3) != 1) return;
    value_ = normalise_(torch::arange(256, torch::kUInt8).view({1, 1, 1, 256}).repeat({1, images_.size(1), 1, 1}));
  }

  /// (B, C, H, W), of Normalise's dtype. The index and the offsets, 0..2 padding, have to be in range.
  torch::Tensor operator()(const Draws& draws) const {
    if (value_.defined()) return value_.scalar_type() == torch::kFloat32 ? in_one_pass<float>(draws) : in_one_pass<double>(draws);
    const auto picked = images_.index_select(0, draws.index);
    return normalise_(draws.flip.defined() ? data::crop_and_flip(picked, draws.dy, draws.dx, draws.flip, padding_) : picked);
  }

 private:
  template <class T>
  torch::Tensor in_one_pass(const Draws& draws) const {
    const auto batch = draws.index.size(0), channels = images_.size(1), height = images_.size(2), width = images_.size(3);
    const auto result = torch::empty({batch, channels, height, width}, value_.options());
    const bool augmented = draws.flip.defined();
    const auto* index = draws.index.const_data_ptr<std::int64_t>();
    const auto* dy = augmented ? draws.dy.const_data_ptr<std::int64_t>() : nullptr;
    const auto* dx = augmented ? draws.dx.const_data_ptr<std::int64_t>() : nullptr;
    const auto* flip = augmented ? draws.flip.const_data_ptr<bool>() : nullptr;
    const auto* images = images_.const_data_ptr<std::uint8_t>();
    const auto* values = value_.const_data_ptr<T>();
    auto* const results = result.mutable_data_ptr<T>();

    const auto image = [&](std::int64_t b) {
      const auto down = augmented ? dy[b] - padding_ : 0, right = augmented ? dx[b] - padding_ : 0;
      T* y = results + b * channels * height * width;
      for (std::int64_t c = 0; c < channels; ++c) {
        const auto* x = images + index[b] * images_.stride(0) + c * images_.stride(1);
        const T* value = values + 256 * c;
        for (std::int64_t i = 0; i < height; ++i, y += width) {
          const bool inside = i + down >= 0 && i + down < height;
          if (inside) {
            augment_row(x + (i + down) * images_.stride(2), width, right, augmented && flip[b], value, y);
          } else {
            std::fill(y, y + width, value[0]);
          }
        }
      }
    };
    at::parallel_for(0, batch, 1 + 65536 / (channels * height * width), [&](std::int64_t begin, std::int64_t end) {
      for (auto b = begin; b < end; ++b) image(b);
    });
    return result;
  }

  torch::Tensor images_;
  data::Normalise normalise_;
  std::int64_t padding_;
  torch::Tensor value_;  ///< (1, C, 1, 256): of each pixel value, where images are read in one pass
};

}  // namespace creditlib::detail
