// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <creditlib/error.hpp>
#include <cstdint>

/// Checks of options: each throws Error "Vec: epsilon is 0, expected a finite number > 0." for an invalid value. `who`
/// is the rule or the options struct, `option` the name of the field.
namespace creditlib::detail::expect {

template <class Value>
void that(bool valid, const char* who, const char* option, Value value, const char* expected) {
  if (!valid) fail(who, ": ", option, " is ", value, ", expected ", expected, ".");
}

inline void at_least(const char* who, const char* option, std::int64_t value, std::int64_t least) {
  if (value < least) fail(who, ": ", option, " is ", value, ", expected at least ", least, ".");
}

inline void positive(const char* who, const char* option, double value) {
  that(value > 0 && std::isfinite(value), who, option, value, "a finite number > 0");
}

inline void not_negative(const char* who, const char* option, double value) {
  that(value >= 0 && std::isfinite(value), who, option, value, "a finite number >= 0");
}

/// The bounds themselves are invalid.
inline void between_0_and_1(const char* who, const char* option, double value) {
  that(value > 0 && value < 1, who, option, value, "a number between 0 and 1");
}

}  // namespace creditlib::detail::expect
