// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/row_loops.hpp>
#include <cstdint>
#include <cstring>

namespace creditlib::detail {

namespace rows {

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

}  // namespace rows

/// The squared norm of each row of left right^T, (B, 1), for left (B, r) and right (d, r), from the Gram matrix of
/// `right`; the product itself is formed only if r exceeds max_rank and the product is less work. Never below 0, which
/// rounding could otherwise cause in float32.
inline torch::Tensor factored_squares(const torch::Tensor& left, const torch::Tensor& right) {
  if (in_rows_of_float(left) && in_rows_of_float(right) && left.size(1) <= rows::max_rank) {
    auto squares = torch::empty({left.size(0), 1}, left.options());
    rows::factored_squares(left.data_ptr<float>(), right.data_ptr<float>(), left.size(0), right.size(0), left.size(1),
                           squares.mutable_data_ptr<float>());
    return squares;
  }
  const auto count = left.size(0), width = right.size(0), rank = left.size(1);
  const bool product_is_cheaper = count * width <= rank * (count + width);  // both divided by rank
  if (product_is_cheaper) return left.mm(right.t()).square_().sum(1, /*keepdim=*/true);
  return left.mm(right.t().mm(right)).mul_(left).sum(1, /*keepdim=*/true).clamp_min_(0);
}

}  // namespace creditlib::detail
