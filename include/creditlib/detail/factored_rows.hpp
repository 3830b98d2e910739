// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/detail/row_loops.hpp>
#include <cstdint>
#include <cstring>

namespace creditlib::detail::rows {

/// The largest rank that the kernel below supports.
constexpr std::int64_t max_rank = 4 * lanes;

/// squares (count): left_b G left_b^T for each row of left (count, rank), with G = right^T right for right (width,
/// rank); clamped to at least 0.
CREDITLIB_DETAIL_FOR_EACH_CPU inline void factored_squares(const float* left, const float* right, std::int64_t count,
                                                           std::int64_t width, std::int64_t rank, float* squares) {
  Floats gram[max_rank][max_rank / lanes] = {}, v[max_rank / lanes] = {}, product;
  const std::int64_t chunks = (rank + lanes - 1) / lanes;
  const auto bytes = sizeof(float) * static_cast<std::size_t>(rank);
  for (std::int64_t i = 0; i < width; ++i, right += rank) {
    std::memcpy(v, right, bytes);
    for (std::int64_t p = 0; p < rank; ++p) {
      for (std::int64_t c = 0; c < chunks; ++c) gram[p][c] += v[c] * right[p];
    }
  }
  for (std::int64_t b = 0; b < count; ++b, left += rank) {
    std::memcpy(v, left, bytes);
    float square = 0;
    for (std::int64_t c = 0; c < chunks; ++c) {
      product = Floats{};
      for (std::int64_t p = 0; p < rank; ++p) product += gram[p][c] * left[p];
      square += sum(product * v[c]);
    }
    squares[b] = square < 0 ? 0 : square;
  }
}

}  // namespace creditlib::detail::rows
