// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <creditlib/detail/expect.hpp>
#include <creditlib/progress.hpp>
#include <cstdint>

namespace creditlib {

/// The first step of every `every`-th epoch, from epoch 0 on, is the second source's; all others are the first's. A
/// source learns in its own steps.
///
/// - Throws Error from weights() if every is below 1; a trainer calls it once at construction.
struct Anchor {
  std::int64_t every = 1;

  std::array<double, 2> weights(const Progress& progress) const {
    detail::expect::at_least("Anchor", "every", every, 1);
    const bool second = progress.epoch % every == 0 && progress.epoch_step == 0;
    return second ? std::array{0.0, 1.0} : std::array{1.0, 0.0};
  }
};

}  // namespace creditlib
