// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/detail/half_cosine.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstdint>

namespace creditlib::optim {

/// The learning rate in `epoch` (from 0): lr (1 + cos(pi epoch / epochs)) / 2, and 0 past the end; or constant lr.
/// Gives the same numbers as torch.optim's CosineAnnealingLR with T_max = epochs, stepped once per epoch.
inline double rate_at(Rate rate, double lr, std::int64_t epoch, std::int64_t epochs) {
  if (rate == Rate::Constant) return lr;
  if (epoch >= epochs) return 0;
  return lr * detail::half_cosine(static_cast<double>(epoch), static_cast<double>(epochs));
}

}  // namespace creditlib::optim
