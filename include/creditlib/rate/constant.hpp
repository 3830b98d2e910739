// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/progress.hpp>

namespace creditlib::rate {

/// The learning rate is lr throughout.
struct Constant {
  double operator()(const Progress&) const { return 1; }
};

}  // namespace creditlib::rate
