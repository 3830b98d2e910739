#pragma once

#include <optional>
#include <string>

namespace creditlib::statistics {

/// A figure, or the reason why there is none; never a number that stands for "undefined".
struct Measured {
  std::optional<double> value = std::nullopt;
  std::string reason = {};  ///< empty where there is a value
};

}  // namespace creditlib::statistics

namespace creditlib::diagnostics {
using statistics::Measured;
}  // namespace creditlib::diagnostics
