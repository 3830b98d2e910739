// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace creditlib {

/// The position within a run. All counts start at 0; steps are counted over the whole run.
struct Progress {
  std::int64_t epoch = 0;
  std::int64_t epochs = 1;
  std::int64_t step = 0;
};

}  // namespace creditlib
