#pragma once

#include <array>
#include <creditlib/error.hpp>
#include <creditlib/progress.hpp>
#include <cstdint>

namespace creditlib {

/// The first source before `epoch` (counted from 0), the second from then on; the second learns from `lead` epochs
/// earlier. Throws Error for a lead below 0.
///
/// Source: the schedules DFA_then_Vec_T{k} and Vec_early_then_DFA_T{k} of the schedule-timing script, whose vector net
/// learns in the six epochs before it is used (lead 6).
struct SwitchAt {
  std::int64_t epoch = 0;
  std::int64_t lead = 0;

  std::array<double, 2> weights(const Progress& progress) const {
    if (lead < 0) detail::fail("SwitchAt: lead is ", lead, ", expected at least 0: the second source learns first.");
    return progress.epoch < epoch ? std::array{1.0, 0.0} : std::array{0.0, 1.0};
  }
  std::array<bool, 2> learns(const Progress& progress) const {
    return {progress.epoch < epoch, progress.epoch >= epoch - lead};
  }
};

}  // namespace creditlib
