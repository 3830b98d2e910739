#pragma once

#include <array>
#include <creditlib/error.hpp>
#include <creditlib/progress.hpp>

namespace creditlib {

/// (1 - alpha) of the first source and alpha of the second, all the time; alpha in 0..1.
///
/// Throws Error from weights() (a trainer asks once when it is made) if alpha is outside 0..1.
/// Source: Hybrid_blend_{alpha} of the schedule-timing script.
struct Blend {
  double alpha = 0.5;

  std::array<double, 2> weights(const Progress&) const {
    if (!(alpha >= 0 && alpha <= 1)) detail::fail("Blend: alpha is ", alpha, ", expected a number in 0..1.");
    return {1 - alpha, alpha};
  }
};

}  // namespace creditlib
