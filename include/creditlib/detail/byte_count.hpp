#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace creditlib::detail {

/// The bytes of a tensor with these sizes and `item` bytes an element; nothing if the strides or bytes of such a tensor
/// do not fit in 64 bits, as sizes in a damaged file may not. No size is negative.
inline std::optional<std::int64_t> byte_count(const std::vector<std::int64_t>& sizes, std::int64_t item) {
  std::int64_t strides = item;  // the product without the zeros, which LibTorch's strides are made of
  for (const auto size : sizes) {
    const auto factor = std::max<std::int64_t>(size, 1);
    if (strides > std::numeric_limits<std::int64_t>::max() / factor) return std::nullopt;
    strides *= factor;
  }
  return std::find(sizes.begin(), sizes.end(), 0) == sizes.end() ? strides : 0;
}

}  // namespace creditlib::detail
