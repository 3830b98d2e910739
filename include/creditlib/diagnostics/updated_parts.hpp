// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/error.hpp>
#include <cstdint>
#include <optional>
#include <vector>

namespace creditlib::diagnostics {

/// Which parts of the model an update moves.
struct UpdatedParts {
  std::optional<std::vector<std::int64_t>> blocks = std::nullopt;  ///< every block if left out
  bool embed = false;
  bool readout = false;

  /// Throws Error for a block that does not exist.
  void check(std::int64_t count) const {
    for (const auto block : blocks.value_or(std::vector<std::int64_t>{})) {
      if (block < 0 || block >= count) {
        detail::fail("UpdatedParts: block ", block, " does not exist, expected 0..", count - 1, ".");
      }
    }
  }
};

}  // namespace creditlib::diagnostics
