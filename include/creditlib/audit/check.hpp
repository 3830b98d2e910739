// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/statistics/estimate.hpp>
#include <creditlib/statistics/measured.hpp>
#include <optional>
#include <string>
#include <utility>

/// The audit: whether a rule's figures can be trusted. Each check is a figure, a threshold and whether the check fired;
/// no check depends on the rule. docs/audit.md explains the checks that exist in two forms.
namespace creditlib::audit {

/// The side of its threshold on which a check fires.
enum class Fires { Above, Below };

/// One check of the audit.
struct Check {
  std::string name = {};             ///< "D1", "D1 since init", …
  std::string meaning = {};          ///< what the value measures
  diagnostics::Measured value = {};  ///< the figure, or why it is undefined
  double threshold = 0;
  Fires fires = Fires::Above;
  std::optional<bool> fired = {};  ///< nullopt if nothing could be measured
  std::optional<diagnostics::Interval> interval = {};

  /// Whether the interval lies entirely on one side of the threshold; nullopt without an interval.
  std::optional<bool> decided() const {
    if (!interval) return std::nullopt;
    return interval->high < threshold || interval->low > threshold;
  }
};

/// Makes a check by comparing the figure with its threshold; without a figure it has neither fired nor passed.
inline Check checked(std::string name, std::string meaning, const diagnostics::Measured& value, double threshold,
                     Fires fires, std::optional<diagnostics::Interval> interval = {}) {
  Check check{.name = std::move(name),
              .meaning = std::move(meaning),
              .value = value,
              .threshold = threshold,
              .fires = fires,
              .interval = interval};
  if (value.value) check.fired = fires == Fires::Above ? *value.value > threshold : *value.value < threshold;
  return check;
}

}  // namespace creditlib::audit

namespace creditlib {
namespace protocol = audit;  // deprecated name
}
