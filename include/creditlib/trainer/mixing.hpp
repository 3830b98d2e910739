// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <creditlib/concepts.hpp>
#include <creditlib/error.hpp>
#include <creditlib/progress.hpp>
#include <cstddef>

namespace creditlib::detail {

/// What the schedule says about one step: each source's weight, and which sources learn.
template <std::size_t N>
struct Mixing {
  std::array<double, N> weights = {};
  std::array<bool, N> learns = {};

  /// How many sources have a weight.
  std::size_t active() const {
    std::size_t number = 0;
    for (const double weight : weights) number += weight != 0;
    return number;
  }
};

/// The schedule's weights now. Throws Error unless they are finite and one of them is not 0.
template <class Schedule>
std::array<double, weight_count<Schedule>()> weights_of(const Schedule& schedule, const Progress& now) {
  const std::array<double, weight_count<Schedule>()> weights = schedule.weights(now);
  bool any = false;
  for (const double weight : weights) {
    if (!std::isfinite(weight)) {
      fail("The schedule gives the weight ", weight, " in epoch ", now.epoch, ", expected a finite number.");
    }
    any = any || weight != 0;
  }
  if (!any) {
    fail("The schedule gives every credit source the weight 0 in epoch ", now.epoch, "; one must train the network.");
  }
  return weights;
}

/// All that a step asks the schedule, which is asked once.
template <class Schedule>
Mixing<weight_count<Schedule>()> mixing_of(const Schedule& schedule, const Progress& now) {
  Mixing<weight_count<Schedule>()> mixing{.weights = weights_of(schedule, now)};
  if constexpr (SaysWhatLearns<Schedule>) {
    mixing.learns = schedule.learns(now);
  } else {
    for (std::size_t i = 0; i < mixing.weights.size(); ++i) mixing.learns[i] = mixing.weights[i] != 0;
  }
  return mixing;
}

}  // namespace creditlib::detail
