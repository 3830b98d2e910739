// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/detail/half_cosine.hpp>
#include <creditlib/error.hpp>
#include <creditlib/progress.hpp>
#include <creditlib/rate/cosine.hpp>
#include <cstdint>

namespace creditlib::rate {

/// Grows to lr over the first `steps` steps of the run, then falls along a cosine: by step if `total` says how many
/// steps the run has, by epoch otherwise.
///
///     factor = min(1, (step + 1) / steps) cosine
///     cosine = (1 + cos(pi (step - steps) / (total - steps))) / 2 from step `steps` on, 0 past the end;  or rate::Cosine
///
/// - Throws Error when it is asked, as a trainer does at construction, if steps < 0, or total <= steps is not 0.
struct WarmupCosine {
  std::int64_t steps = 0;
  std::int64_t total = 0;  ///< 0: unknown

  double operator()(const Progress& now) const {
    if (steps < 0 || (total != 0 && total <= steps)) {
      detail::fail("rate::WarmupCosine: steps is ", steps, " and total is ", total,
                   ", expected steps >= 0, and a total that is greater than steps, or 0 for a cosine by epoch.");
    }
    if (now.step < steps) {
      const double grown = static_cast<double>(now.step + 1) / static_cast<double>(steps);
      return total == 0 ? grown * Cosine{}(now) : grown;
    }
    if (total == 0) return Cosine{}(now);
    if (now.step >= total) return 0;
    return detail::half_cosine(static_cast<double>(now.step - steps) / static_cast<double>(total - steps));
  }
};

}  // namespace creditlib::rate
