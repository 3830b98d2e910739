#pragma once

#include <cstdint>

namespace creditlib::cuda {

struct GraphOptions {
  /// Steps of a kind that run eagerly before one is captured: libraries set themselves up in them, which a capture must
  /// not see.
  std::int64_t warm_up = 3;
  /// How many graphs are kept, one for each shape of batch; the one that was used longest ago makes room.
  std::int64_t graphs = 2;
};

}  // namespace creditlib::cuda
