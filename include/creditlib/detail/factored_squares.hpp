// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/factored_rows.hpp>
#include <creditlib/detail/float_rows.hpp>

namespace creditlib::detail {

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
