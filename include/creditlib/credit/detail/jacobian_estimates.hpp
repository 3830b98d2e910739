// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/bind_context.hpp>
#include <creditlib/concepts.hpp>
#include <creditlib/credit/detail/direct_path.hpp>
#include <creditlib/trace.hpp>
#include <vector>

/// The Jacobians of the logits in the hidden states, as direct feedback needs them, estimated by forward mode.
namespace creditlib::detail {

/// A random direction of each hidden state that has a matrix B_l, undefined for the others: N(0, 1) for each sample and
/// row of B_l; the same at all positions, unless the error reaches each position by itself.
template <BlockModel Model>
std::vector<torch::Tensor> drawn_directions(Model& model, const Trace& trace,
                                            const std::vector<torch::Tensor>& feedback, const BindContext& context) {
  const OutputRows outputs(trace.error);
  const auto range = context.sample_range(trace.error.size(0));
  std::vector<torch::Tensor> directions(feedback.size());
  for (std::size_t l = 0; l < feedback.size(); ++l) {
    if (!feedback[l].defined()) continue;
    const DirectPath path(model, trace, l, feedback[l], outputs);
    directions[l] = path.credit(context.sample_randn(path.hidden_rows(trace.hidden[l]).sizes(), range));
  }
  return directions;
}

/// For each B_l the mean of u_l d^T over samples and positions, d = sum_l (dlogits/dh_l) u_l: for directions as above an
/// unbiased estimate of the mean of (dlogits/dh_l)^T, the B_l whose e B_l^T is closest to the gradient. Undefined if
/// u_l is.
template <BlockModel Model>
std::vector<torch::Tensor> jacobian_estimates(Model& model, const Trace& trace,
                                              const std::vector<torch::Tensor>& feedback,
                                              const std::vector<torch::Tensor>& directions) {
  const torch::NoGradGuard no_grad;
  const auto changes = trace.pushforward(directions);
  const OutputRows outputs(changes);
  const auto output_positions = changes.numel() / outputs.pooled.numel();
  std::vector<torch::Tensor> estimates(feedback.size());
  for (std::size_t l = 0; l < feedback.size(); ++l) {
    if (!directions[l].defined()) continue;
    const DirectPath path(model, trace, l, feedback[l], outputs);
    const bool by_position = path.rows(outputs).dim() == 3;
    const auto terms = trace.hidden[l].numel() / feedback[l].size(0) * (by_position ? 1 : output_positions);
    estimates[l] = path.weight_gradient(directions[l], outputs).div_(static_cast<double>(terms));
  }
  return estimates;
}

}  // namespace creditlib::detail
