#pragma once

#include <creditlib/statistics/estimate.hpp>
#include <creditlib/statistics/measured.hpp>
#include <optional>
#include <string>
#include <utility>

/// The audit protocol: whether what a rule's figures say of it may be believed. Each check is a figure, a threshold,
/// and whether it fired; none knows a rule. "As published" is the reference audit's; docs/protocol.md says why ours
/// differ.
namespace creditlib::audit {

/// On which side of its threshold a check fires.
enum class Fires { Above, Below };

/// One check of the protocol.
struct Check {
  std::string name = {};             ///< "D1", "D1 since init", …
  std::string meaning = {};          ///< what the value is
  diagnostics::Measured value = {};  ///< or why there is none
  double threshold = 0;
  Fires fires = Fires::Above;
  std::optional<bool> fired = {};  ///< nothing where there was nothing to measure
  std::optional<diagnostics::Interval> interval = {};

  /// Whether the interval lies on one side of the threshold; nothing without an interval.
  std::optional<bool> decided() const {
    if (!interval) return std::nullopt;
    return interval->high < threshold || interval->low > threshold;
  }
};

/// A check whose figure is compared with its threshold; it has not fired, and has not passed, where there is no figure.
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
