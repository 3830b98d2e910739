// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/detail/half_cosine.hpp>
#include <creditlib/progress.hpp>

namespace creditlib::rate {

/// The rate of a trainer that is given none: a cosine that falls once per epoch (Loshchilov and Hutter 2017).
///
///     factor = (1 + cos(pi epoch / epochs)) / 2,  0 past the end
struct Cosine {
  double operator()(const Progress& now) const {
    if (now.epoch >= now.epochs) return 0;
    return detail::half_cosine(static_cast<double>(now.epoch), static_cast<double>(now.epochs));
  }
};

}  // namespace creditlib::rate
