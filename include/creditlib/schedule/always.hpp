// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <creditlib/progress.hpp>

namespace creditlib {

/// A single source throughout the run.
struct Always {
  std::array<double, 1> weights(const Progress&) const { return {1.0}; }
};

}  // namespace creditlib
