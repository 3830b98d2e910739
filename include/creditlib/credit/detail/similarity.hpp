// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/credit/detail/head_view.hpp>
#include <creditlib/network/shape.hpp>
#include <limits>

namespace creditlib::detail {

/// The cosine of every two samples, (B, B), each centered over its own numbers, (B, n).
///
/// A sample whose numbers are all the same has no direction: its similarities are 0, and so are their gradients.
inline torch::Tensor similarities(const torch::Tensor& z) {
  const auto centered = z - z.mean(1, /*keepdim=*/true);
  const auto norm = at::linalg_vector_norm(centered, 2, 1, /*keepdim=*/true);
  const auto unit = centered / (1e-8 + norm).masked_fill(norm == 0, std::numeric_limits<double>::infinity());
  return unit.mm(unit.t()).clamp(-1, 1);
}

/// What a map is compared by, (B, n): each feature's standard deviation over positions; its numbers if it has 3 features
/// or fewer, or one position.
inline torch::Tensor compared_by(const torch::Tensor& h, HiddenLayout layout) {
  const auto map = features_first(h, layout);
  if (map.dim() < 3) return map.reshape({map.size(0), -1});
  return map.size(1) > 3 && map.flatten(2).size(2) > 1 ? map.flatten(2).std(2) : map.flatten(1);
}

}  // namespace creditlib::detail
