// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace creditlib::detail {

/// The number of bytes of a tensor with these sizes and `item` bytes per element; nullopt if its strides or bytes do
/// not fit in 64 bits, as with the sizes in a damaged file. No size is negative.
inline std::optional<std::int64_t> byte_count(const std::vector<std::int64_t>& sizes, std::int64_t item) {
  std::int64_t strides = item;  // the product of the nonzero sizes, as in LibTorch's strides
  for (const auto size : sizes) {
    const auto factor = std::max<std::int64_t>(size, 1);
    if (strides > std::numeric_limits<std::int64_t>::max() / factor) return std::nullopt;
    strides *= factor;
  }
  return std::find(sizes.begin(), sizes.end(), 0) == sizes.end() ? strides : 0;
}

}  // namespace creditlib::detail
