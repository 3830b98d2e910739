// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/diagnostics/cosine.hpp>
#include <creditlib/diagnostics/gradients.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace creditlib::diagnostics {

struct StabilityOptions {
  std::optional<std::int64_t> layer = std::nullopt;  ///< l of the hidden state; by default L/2, rounded down
  std::int64_t least_batches = 8;
};

/// Stability: how well the mean gradients of different batches agree at one hidden state, as the mean cosine over all
/// pairs of batches.
///
///     mean_{i<j} cos(m_i, m_j),   m_i = mean over batch i of dloss/dh_l
///
/// - Pass disjoint batches, as a list of {x, y}.
/// - Near 1, one fixed direction serves every batch, so that even credit that ignores its sample is aligned with the
///   gradient.
/// - In the model's present mode; nothing is changed.
/// - Cost: a forward and a backward pass per batch.
/// - Throws Error for an invalid layer.
template <BlockModel Model, class Batch, class Objective = CrossEntropy>
Measured stability(Model& model, const std::vector<Batch>& batches, const StabilityOptions& options = {},
                   const Objective& objective = {}) {
  const std::int64_t blocks = model->blocks(), l = options.layer.value_or(blocks / 2);
  if (l < 0 || l > blocks) detail::fail("stability: there is no h_", l, ", expected 0..", blocks, ".");
  if (static_cast<std::int64_t>(batches.size()) < options.least_batches) {
    return {.reason = std::to_string(batches.size()) + " batches, but at least " +
                      std::to_string(options.least_batches) + " are needed"};
  }
  VectorSpread spread;
  for (const auto& [x, y] : batches) {
    spread.add(true_gradients(model, x, y, objective)[static_cast<std::size_t>(l)].to(torch::kFloat64).mean(0));
  }
  return spread.mean_pairwise_cosine();
}

}  // namespace creditlib::diagnostics
