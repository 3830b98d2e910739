// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

namespace creditlib::statistics {

/// A figure, or the reason why it is undefined; an undefined figure is never reported as a number.
struct Measured {
  std::optional<double> value = std::nullopt;
  std::string reason = {};  ///< empty if there is a value
};

}  // namespace creditlib::statistics

namespace creditlib::diagnostics {
using statistics::Measured;
}  // namespace creditlib::diagnostics
