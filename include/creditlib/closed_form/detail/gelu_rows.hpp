// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/detail/row_loops.hpp>
#include <cstdint>

namespace creditlib::detail::rows {

/// y = x Phi(x) and its derivative, Phi(x) + x phi(x); Phi by Abramowitz and Stegun 7.1.26, absolute error 1e-7.
CREDITLIB_DETAIL_FOR_EACH_CPU inline void gelu(const float* x, std::int64_t count, float* y, float* slope) {
  in_lanes(count, [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
    Floats v;
    load(v, x + i, n);
    const Floats size = v < 0.0f ? -v : v;
    const Floats exponent = v * v * -0.5f;
    Floats density = exponent;
    exp_of_negative(density);
    // For |x| > 8 the tail of Phi vanishes; it must not become denormal (1e-38), which is slow on many processors.
    density = exponent < -32.0f ? Floats{} : density;
    const Floats t = 1.0f / (size * (0.3275911f * 0.70710678f) + 1.0f);
    Floats tail = t * 1.061405429f - 1.453152027f;
    tail = tail * t + 1.421413741f;
    tail = tail * t - 0.284496736f;
    tail = (tail * t + 0.254829592f) * t * density * 0.5f;  // 1 - Phi(|x|)
    const Floats below = v < 0.0f ? tail : 1.0f - tail;
    const Floats value = v * below, derivative = v * density * 0.39894228f + below;
    store(y + i, value, n);
    store(slope + i, derivative, n);
  });
}

}  // namespace creditlib::detail::rows
