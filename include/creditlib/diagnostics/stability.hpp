#pragma once

#include <creditlib/diagnostics/cosine.hpp>
#include <creditlib/diagnostics/gradients.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace creditlib::diagnostics {

struct StabilityOptions {
  std::optional<std::int64_t> layer = std::nullopt;  ///< of the hidden state; L/2, rounded down
  std::int64_t least_batches = 8;
};

/// Stability: how much the batches' mean gradients at one hidden state agree, the mean cosine of all pairs.
///
///     mean_{i<j} cos(m_i, m_j),   m_i = mean over batch i of dloss/dh_l
///
/// Give it disjoint batches, as any list of {x, y}. Near 1 one fixed direction serves every batch, so that even credit
/// that knows nothing of its sample is aligned with the gradient. In the model's present mode; nothing is changed.
/// Costs a forward and a backward pass a batch. Throws Error for a layer that there is not. Source: the audit
/// protocol's stability.
template <BlockModel Model, class Batch, class Objective = CrossEntropy>
Measured stability(Model& model, const std::vector<Batch>& batches, const StabilityOptions& options = {},
                   const Objective& objective = {}) {
  const std::int64_t blocks = model->blocks(), l = options.layer.value_or(blocks / 2);
  if (l < 0 || l > blocks) detail::fail("stability: there is no h_", l, ", expected 0..", blocks, ".");
  if (static_cast<std::int64_t>(batches.size()) < options.least_batches) {
    return {.reason =
                std::to_string(batches.size()) + " batches, and it needs " + std::to_string(options.least_batches)};
  }
  VectorSpread spread;
  for (const auto& [x, y] : batches) {
    spread.add(true_gradients(model, x, y, objective)[static_cast<std::size_t>(l)].to(torch::kFloat64).mean(0));
  }
  return spread.mean_pairwise_cosine();
}

}  // namespace creditlib::diagnostics
