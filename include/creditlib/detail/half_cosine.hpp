// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <numbers>

namespace creditlib::detail {

/// The falling half of a cosine, from 1 at part = 0 to 0 at part = whole.
inline double half_cosine(double part, double whole = 1) { return (1 + std::cos(std::numbers::pi * part / whole)) / 2; }

}  // namespace creditlib::detail
