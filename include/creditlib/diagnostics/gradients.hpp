// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/concepts.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/detail/whole_forward.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/scope/untouched.hpp>
#include <vector>

namespace creditlib::diagnostics {

/// h_0..h_L, each (B, hidden_shape(l)...), detached, in the model's present mode. Nothing is changed. Costs one forward
/// pass. Throws Error for an unsuitable input.
template <BlockModel Model>
std::vector<torch::Tensor> hidden_states(Model& model, const torch::Tensor& x) {
  return detail::translated([&] {
    const scope::Untouched untouched(*model, x.device());
    auto hidden = detail::forward_whole(model, x, /*from_h0=*/true).hidden;
    for (auto& h : hidden) h = h.detach();
    return hidden;
  });
}

/// dloss_i/dh_l for l = 0..L, in the shapes of the hidden states, by back-propagation through the whole network.
///
/// - The gradient of each sample's own loss; with BatchNorm in train mode, of the batch's summed loss.
/// - In the model's present mode; nothing is changed.
/// - Cost: one forward and one backward pass.
/// - Throws Error for an unsuitable batch.
template <BlockModel Model, class Objective = CrossEntropy>
std::vector<torch::Tensor> true_gradients(Model& model, const torch::Tensor& x, const torch::Tensor& y,
                                          const Objective& objective = {}) {
  return detail::translated([&] {
    const scope::Untouched untouched(*model, x.device());
    return detail::hidden_gradients(model, objective, x, y);
  });
}

}  // namespace creditlib::diagnostics
