// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <creditlib/detail/row_loops.hpp>
#include <cstdint>

namespace creditlib::detail::rows {

/// How many squares are added up in float32, so that long rows lose no more than short ones.
constexpr std::int64_t in_one_sum = 4096;

/// Each row of a (count, width) divided by its root mean square plus eps.
CREDITLIB_DETAIL_FOR_EACH_CPU inline void unit_rms(const float* a, std::int64_t count, std::int64_t width, float eps,
                                                   float* unit) {
  for (std::int64_t row = 0; row < count; ++row, a += width, unit += width) {
    double total = 0;
    for (std::int64_t first = 0; first < width; first += in_one_sum) {
      Floats squares{};
      in_lanes(std::min(in_one_sum, width - first), [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
        Floats v;
        load(v, a + first + i, n);
        squares += v * v;
      });
      total += static_cast<double>(sum(squares));
    }
    const float divisor = std::sqrt(static_cast<float>(total / static_cast<double>(width))) + eps;
    in_lanes(width, [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
      Floats v;
      load(v, a + i, n);
      v /= divisor;
      store(unit + i, v, n);
    });
  }
}

/// From the squared norms of rows of this width what scales each to a root mean square of about 1:
/// 1 / (sqrt(square / width) |scale| + eps), in their place. A scale of null is 1.
inline void inverse_rms(float* squares, const float* scale, std::int64_t count, std::int64_t width, float eps) {
  for (std::int64_t row = 0; row < count; ++row) {
    const float rms = std::sqrt(squares[row] / static_cast<float>(width));
    squares[row] = 1 / ((scale == nullptr ? rms : rms * std::abs(scale[row])) + eps);
  }
}

}  // namespace creditlib::detail::rows
