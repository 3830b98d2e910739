// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/detail/half_cosine.hpp>
#include <creditlib/error.hpp>
#include <creditlib/progress.hpp>
#include <cstdint>

namespace creditlib::rate {

/// One cycle (Smith and Topin 2019): from `start` up to lr, then down to `end`, both along half a cosine, by step. The
/// same numbers as torch.optim's OneCycleLR with max_lr = lr, without its momentum; past the end the factor stays `end`.
///
/// - Throws Error when it is asked, as a trainer does at construction, if total < 2, warm_up is not between 0 and 1, or a
///   factor is negative.
struct OneCycle {
  std::int64_t total = 0;     ///< how many steps the run has
  double warm_up = 0.3;       ///< the part of them in which the rate grows
  double start = 1.0 / 25;    ///< the factor in the first step
  double end = 1.0 / 250000;  ///< the factor in the last step

  double operator()(const Progress& now) const {
    if (total < 2 || !(warm_up > 0 && warm_up < 1) || !(start >= 0) || !(end >= 0)) {
      detail::fail("rate::OneCycle: total is ", total, ", warm_up ", warm_up, ", start ", start, ", end ", end,
                   "; expected how many steps the run has, at least 2, a part between 0 and 1, and two factors >= 0.");
    }
    const auto step = static_cast<double>(now.step), last = static_cast<double>(total - 1);
    const double top = warm_up * static_cast<double>(total) - 1;
    if (step >= last) return end;
    if (step <= top) return along(start, 1, step / top);
    return along(1, end, (step - top) / (last - top));
  }

  static double along(double from, double to, double done) { return to + (from - to) * detail::half_cosine(done); }
};

}  // namespace creditlib::rate
