#pragma once

#include <cstdint>

namespace creditlib {

/// Where a run stands; all counted from 0, steps over the whole run.
struct Progress {
  std::int64_t epoch = 0;
  std::int64_t epochs = 1;
  std::int64_t step = 0;
};

}  // namespace creditlib
