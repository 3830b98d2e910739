// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/statistics/measured.hpp>
#include <optional>
#include <string>

namespace creditlib::statistics {

/// A confidence interval.
struct Interval {
  double low = 0, high = 0;

  bool contains(double value) const { return low <= value && value <= high; }
};

/// A figure with its confidence interval, if there is one, or the reason why the figure is undefined.
struct Estimate {
  std::optional<double> value = std::nullopt;
  std::optional<Interval> interval = std::nullopt;
  std::string reason = {};  ///< empty if there is a value

  operator Measured() const { return {.value = value, .reason = reason}; }
};

}  // namespace creditlib::statistics

namespace creditlib::diagnostics {
using statistics::Estimate;
using statistics::Interval;
}  // namespace creditlib::diagnostics
