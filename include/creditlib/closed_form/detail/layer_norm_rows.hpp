// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/detail/row_loops.hpp>
#include <cstdint>

namespace creditlib::detail::rows {

/// normal = (x - mean) rstd, y = normal * weight + bias, of rows of x (count, width); rstd (count). Without a weight y is
/// not written.
CREDITLIB_DETAIL_FOR_EACH_CPU inline void layer_norm(const float* x, const float* weight, const float* bias, float eps,
                                                     std::int64_t count, std::int64_t width, float* normal, float* rstd,
                                                     float* y) {
  for (std::int64_t row = 0; row < count; ++row, x += width, normal += width, y += width) {
    Floats total{}, square{};
    in_lanes(width, [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
      Floats v;
      load(v, x + i, n);
      total += v;
    });
    const float mean = sum(total) / static_cast<float>(width);
    in_lanes(width, [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
      Floats v;
      load(v, x + i, n);
      v -= mean;
      for (std::int64_t j = n; j < lanes; ++j) v[j] = 0;  // lanes past the end hold no data
      square += v * v;
    });
    const float squares = sum(square);
    // Squares that overflow must not pass for a row without spread: infinity minus itself is NaN, as LibTorch gives there.
    const float scale = 1 / __builtin_sqrtf(squares / static_cast<float>(width) + eps) + (squares - squares);
    rstd[row] = scale;
    in_lanes(width, [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
      Floats v, w, b;
      load(v, x + i, n);
      v = (v - mean) * scale;
      store(normal + i, v, n);
      if (weight == nullptr) return;
      load(w, weight + i, n);
      load(b, bias + i, n);
      v = v * w + b;
      store(y + i, v, n);
    });
  }
}

/// The gradient in x of <y(x), gradient>.
CREDITLIB_DETAIL_FOR_EACH_CPU inline void layer_norm_pullback(const float* gradient, const float* weight,
                                                              const float* normal, const float* rstd,
                                                              std::int64_t count, std::int64_t width, float* pulled) {
  for (std::int64_t row = 0; row < count; ++row, gradient += width, normal += width, pulled += width) {
    Floats total{}, along{}, g, z, w;
    const auto weighted = [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
      load(g, gradient + i, n);
      load(z, normal + i, n);
      if (weight == nullptr) return;
      load(w, weight + i, n);
      g *= w;
    };
    in_lanes(width, [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
      weighted(i, n);
      total += g;
      along += g * z;
    });
    const float mean = sum(total) / static_cast<float>(width), projection = sum(along) / static_cast<float>(width);
    in_lanes(width, [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
      weighted(i, n);
      g = (g - mean - z * projection) * rstd[row];
      store(pulled + i, g, n);
    });
  }
}

}  // namespace creditlib::detail::rows
