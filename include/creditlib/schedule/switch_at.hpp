// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <creditlib/error.hpp>
#include <creditlib/progress.hpp>
#include <cstdint>

namespace creditlib {

/// The first source before `epoch` (counted from 0), the second from then on. The second starts to learn `lead` epochs
/// before it is used.
///
/// - Throws Error from weights() if lead is below 0; a trainer calls it once at construction.
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
