// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <creditlib/error.hpp>
#include <creditlib/progress.hpp>
#include <cstdint>

namespace creditlib {

/// The first source alone for `epochs` epochs; then the second's weight grows to 1 over `ramp` epochs. Both learn
/// throughout.
///
///     w = min(1, max(0, (epoch + 1 - epochs) / ramp)),   weights (1 - w, w),   epoch from 0
///
/// - Throws Error from weights() if epochs < 0 or ramp < 1; a trainer calls it once at construction.
struct Warmup {
  std::int64_t epochs = 5;
  std::int64_t ramp = 5;

  std::array<double, 2> weights(const Progress& progress) const {
    if (epochs < 0 || ramp < 1) {
      detail::fail("Warmup: epochs is ", epochs, " and ramp is ", ramp, ", expected epochs >= 0 and ramp >= 1.");
    }
    const double grown = static_cast<double>(progress.epoch + 1 - epochs) / static_cast<double>(ramp);
    const double second = std::clamp(grown, 0.0, 1.0);
    return {1 - second, second};
  }
  std::array<bool, 2> learns(const Progress&) const { return {true, true}; }
};

}  // namespace creditlib
