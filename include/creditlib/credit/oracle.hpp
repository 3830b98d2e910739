// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/concepts.hpp>
#include <creditlib/credit/credit_point.hpp>
#include <creditlib/network/shape.hpp>

namespace creditlib {

/// The exact credit: back-propagation's own gradient at every hidden state, by the chain rule.
///
///     a_L = dloss_i/dh_L,    a_l = (dh_{l+1}/dh_l)^T a_{l+1}
///
/// - With Raw and InnerProduct a step has back-propagation's own gradients, on every model.
/// - Shapes: a_l has the shape of h_l. With BatchNorm a_l is the gradient of the batch's summed loss.
/// - With `.at = BlockInput`, slot l+1 holds dloss_i/dh_l (and slot 0 dloss_i/dh_0).
/// - Cost: one backward pass through each block.
/// - A trainer throws Error at the first step with BlockInput if hidden states differ in shape.
struct Oracle {
  CreditPoint at = CreditPoint::BlockOutput;

  static constexpr bool wants_pullback = true;

  Reads reads() const { return Reads::Error | Reads::Readout | Reads::Weights; }

  template <class Model>
  std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
    const std::size_t blocks = trace.branch.size();
    // The gradient at h_0 costs a backward pass; skip it if nothing reads it.
    const std::size_t first = has_embed(model) || at == CreditPoint::BlockInput ? 0 : 1;
    std::vector<torch::Tensor> credits(blocks + 1);
    credits[blocks] = trace.loss_gradient();
    for (std::size_t l = blocks; l-- > first;)
      credits[l] = trace.pullback(static_cast<std::int64_t>(l), credits[l + 1]);
    if (at == CreditPoint::BlockInput) {
      for (std::size_t l = blocks; l > 0; --l) credits[l] = credits[l - 1];
    }
    return credits;
  }
};

}  // namespace creditlib
