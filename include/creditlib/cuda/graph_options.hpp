// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace creditlib::cuda {

/// Options of a GraphedStep.
struct GraphOptions {
  /// The number of eager steps per batch shape before a step is captured: libraries initialize themselves in them,
  /// which must not be captured.
  std::int64_t warm_up = 3;
  /// The number of graphs kept, one per batch shape; the least recently used graph is evicted.
  std::int64_t graphs = 2;
};

}  // namespace creditlib::cuda
