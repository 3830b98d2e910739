// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace creditlib {

/// The position within a run. All counts start at 0.
struct Progress {
  std::int64_t epoch = 0;
  std::int64_t epochs = 1;      ///< TrainerOptions::epochs
  std::int64_t step = 0;        ///< over the whole run
  std::int64_t epoch_step = 0;  ///< within the epoch
};

}  // namespace creditlib
