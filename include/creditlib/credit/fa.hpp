// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <creditlib/credit/detail/feedback.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/network/shape.hpp>

namespace creditlib {

/// Feedback alignment at the level of blocks: fixed random matrices, one per block, carry the true gradient at the last
/// hidden state down. LayerFA has the form with one per layer.
///
///     a_L = dloss_i/dh_L,    a_l = a_{l+1} B_l,    B_l ~ N(0, 1) / sqrt(size of h_{l+1}), fixed
///
/// - Shapes: B_l is (size of h_{l+1}, size of h_l); a_l is (B, size of h_l).
/// - Hidden states with positions: the matrices map channels to channels. They act on credit summed over positions, and
///   a_l, l < L, is the same at every position.
/// - Logits with positions, (B, N, C) or (B, C, H, W): as long as hidden states have the same positions, the matrices act
///   on each position's credit by itself.
/// - Cost: B d^2 multiplications per block, and d^2 stored numbers for each.
/// - Reads the gradient through the readout, and no block's forward weights. The last block's credit is exact by
///   definition.
/// - Throws Error at bind if explicit feedback has the wrong number of matrices or a wrong shape.
/// - Source: Lillicrap, Cownden, Tweed, Akerman, "Random synaptic feedback weights support error backpropagation for
///   deep learning", Nature Communications 7 (2016). The paper has one matrix per layer; here it is one per block.
struct FA {
  /// B_0..B_{L-1}. They are copied, then cast and moved to the model's dtype and device, and nothing is drawn. B_0 may
  /// be undefined if the model has no embed parameters. If empty, the matrices are drawn at bind.
  std::vector<torch::Tensor> feedback = {};

  struct State {
    std::vector<torch::Tensor> feedback;  ///< B_0..B_{L-1}; B_0 is undefined if the model has no embed parameters

    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
      std::vector<torch::Tensor> credits(feedback.size() + 1);
      credits.back() = trace.loss_gradient();
      const auto sizes = [&](std::size_t l) {
        return detail::position_sizes(trace.hidden[l].sizes(), hidden_layout(model, static_cast<std::int64_t>(l)));
      };
      const auto of_logits = detail::position_sizes(trace.error.sizes(), detail::logits_layout(trace.error));
      bool by_position = !of_logits.empty() && sizes(feedback.size()) == of_logits;
      const auto last = hidden_layout(model, model->blocks());
      auto a = by_position ? detail::per_position(credits.back(), last) : pooled(credits.back(), last);
      for (std::size_t l = feedback.size(); l-- > 0 && feedback[l].defined();) {
        const auto at = static_cast<std::int64_t>(l);
        if (by_position && sizes(l) != of_logits) {
          by_position = false;
          a = a.sum(1);
        }
        a = a.matmul(feedback[l]);
        credits[l] = by_position ? detail::from_positions(a, trace.hidden[l].sizes(), hidden_layout(model, at))
                                 : spread(a, model, at);
      }
      return credits;
    }

    Reads reads() const { return Reads::Error | Reads::Readout; }
    NamedTensors named_tensors() const { return numbered("feedback", feedback); }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    const auto blocks = static_cast<std::size_t>(std::int64_t{model->blocks()});
    const auto size = [&](std::size_t l) { return features(model, static_cast<std::int64_t>(l)); };
    const std::size_t first = has_embed(model) ? 0 : 1;
    std::vector<torch::Tensor> matrices(blocks);

    if (!feedback.empty()) {
      detail::check_feedback_count("FA", feedback.size(), blocks, "one per block");
      for (std::size_t l = first; l < blocks; ++l) {
        const auto meaning = c10::str("one row for each of the ", size(l + 1), " features of h_", l + 1,
                                      ", one column for each of the ", size(l), " of h_", l);
        matrices[l] = detail::explicit_feedback("FA", l, feedback[l], {size(l + 1), size(l)}, meaning, context);
      }
      return {matrices};
    }
    for (std::size_t l = first; l < blocks; ++l) {
      matrices[l] = context.randn({size(l + 1), size(l)}, 1 / std::sqrt(static_cast<double>(size(l + 1))));
    }
    return {matrices};
  }
};

}  // namespace creditlib
