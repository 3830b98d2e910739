// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <creditlib/detail/expect.hpp>
#include <creditlib/progress.hpp>

namespace creditlib {

/// A constant mix: weight 1 - alpha for the first source and alpha for the second; alpha is in 0..1.
///
/// - Throws Error from weights() if alpha is outside 0..1; a trainer calls it once at construction.
struct Blend {
  double alpha = 0.5;

  std::array<double, 2> weights(const Progress&) const {
    detail::expect::that(alpha >= 0 && alpha <= 1, "Blend", "alpha", alpha, "a number in 0..1");
    return {1 - alpha, alpha};
  }
};

}  // namespace creditlib
