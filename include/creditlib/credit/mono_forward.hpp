// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <creditlib/credit/detail/head_layers.hpp>
#include <creditlib/credit/local_heads.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <cstdint>

namespace creditlib {

namespace detail {

/// The head of MonoForward.
struct MonoForwardHead {
  static constexpr bool graphable = true;
  std::int64_t pooled = 2048;

  ClassScores module(const HeadInput& input) const {
    ClassScores scores(HeadView("MonoForward", input, grid_within(input, pooled)), input.classes,
                       /*with_bias=*/false);
    const torch::NoGradGuard no_grad;
    scores->weight.normal_(0, std::sqrt(2 / static_cast<double>(scores->weight.size(1))));
    return scores;
  }
  torch::Tensor loss(ClassScores& scores, const torch::Tensor& h, const Trace& trace) const {
    return trace.loss(scores->forward(h));
  }
};

}  // namespace detail

/// Mono-Forward: each hidden state is projected to a goodness per class, and trained with the loss of these.
///
///     G_l = h_l M_l^T,    loss_b = CE(G_l, y_b),    M_l ~ N(0, 2/d), learned
///
/// - Shapes: M_l is (C, d), d the numbers of h_l; a map (C, H, W) or tokens (N, d) are averaged over cells of a grid,
///   `pooled` numbers at most. a_l has the shape of h_l.
/// - The loss is the trainer's objective. Logits with positions: a goodness per class at each position.
/// - Cost: B d C multiplications, three times. Reads the hidden states and the label.
/// - Throws Error at bind for an invalid option, and for logits with other positions than h_l's.
/// - Source: Gong, Li, Abdulla, "Mono-Forward: backpropagation-free algorithm for efficient neural network training
///   harnessing local errors", arXiv 2501.09238 (2025).
struct MonoForward {
  using Normalizer = Raw;
  using State = LocalHeads<detail::MonoForwardHead>::State;

  double lr = 5e-4;  ///< learning rate of the matrices' AdamW
  double weight_decay = 0;
  std::int64_t pooled = 2048;  ///< the most numbers of a sample that M reads

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    detail::expect::not_negative("MonoForward", "lr", lr);
    detail::expect::not_negative("MonoForward", "weight_decay", weight_decay);
    detail::expect::at_least("MonoForward", "pooled", pooled, 1);
    return LocalHeads<detail::MonoForwardHead>{.head = {.pooled = pooled}, .lr = lr, .weight_decay = weight_decay}.bind(
        model, context);
  }
};

}  // namespace creditlib
