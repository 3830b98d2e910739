#pragma once

#include <torch/types.h>

#include <creditlib/detail/row_loops.hpp>
#include <cstdint>
#include <cstring>

namespace creditlib::detail {

namespace rows {

/// The largest rank that factored_squares takes.
constexpr std::int64_t most_rank = 4 * lanes;

/// squares (count): left_b G left_b^T for each row of left (count, rank), with G = right^T right of right (width,
/// rank); at least 0.
CREDITLIB_DETAIL_FOR_EACH_CPU inline void factored_squares(const float* left, const float* right, std::int64_t count,
                                                    std::int64_t width, std::int64_t rank, float* squares) {
  Floats gram[most_rank][most_rank / lanes] = {}, v[most_rank / lanes] = {}, product;
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

/// (B, 1): the squared norm of each row of left right^T, for left (B, r), right (d, r), without that product: from the
/// Gram matrix of right, but where r is above most_rank and the product less work; never below 0, which in float32 a
/// sum of numbers that cancel may be.
inline torch::Tensor factored_squares(const torch::Tensor& left, const torch::Tensor& right) {
  if (in_rows_of_float(left) && in_rows_of_float(right) && left.size(1) <= rows::most_rank) {
    auto squares = torch::empty({left.size(0), 1}, left.options());
    rows::factored_squares(left.const_data_ptr<float>(), right.const_data_ptr<float>(), left.size(0), right.size(0),
                           left.size(1), squares.mutable_data_ptr<float>());
    return squares;
  }
  const auto count = left.size(0), width = right.size(0), rank = left.size(1);
  const bool product_saves = count * width <= rank * (count + width);  // rank times these multiplications
  if (product_saves) return left.mm(right.t()).square_().sum(1, /*keepdim=*/true);
  return left.mm(right.t().mm(right)).mul_(left).sum(1, /*keepdim=*/true).clamp_min_(0);
}

}  // namespace creditlib::detail
