// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/credit/detail/jacobian_estimates.hpp>
#include <creditlib/credit/direct_feedback.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/optim/adamw.hpp>
#include <creditlib/trainer_options.hpp>
#include <optional>
#include <vector>

namespace creditlib {

/// Forward direct feedback alignment (FDFA): DFA whose matrices follow the network's mean Jacobian, estimated along one
/// random direction per step, all hidden states at once.
///
///     a_l = e B_l^T,    B_l to E[u_l d^T],    d = sum_l (dlogits/dh_l) u_l,    u_l ~ N(0, 1) per sample
///
/// by descent on 1/2 |B_l - u_l d^T|^2, the batch mean, with Adam or, with Optimizer::SGD, as the running mean
/// B_l <- (1 - lr) B_l + lr u_l d^T. E[u_l d^T] is the transposed Jacobian of the logits in h_l.
///
/// - Shapes, positions: as DFA. With positions B_l follows the mean Jacobian over them: the same number of each
///   direction at all positions, or one per position if the error reaches each by itself.
/// - Its normalizer is Raw: the matrices learn the size of the gradient too.
/// - Cost: DFA's; to learn one pushforward (Trace::pushforward) and the product u_l^T d per hidden state; d C numbers for
///   each, with Adam thrice that. Credit reads the error alone; learning Jacobian-vector products.
/// - Throws Error at bind for a negative lr, and for explicit feedback that does not fit.
/// - Source: Bacho, Chu, "Low-variance forward gradients using direct feedback alignment and momentum", Neural Networks
///   (2024), arXiv 2212.07282.
struct ForwardDFA {
  using Normalizer = Raw;

  double lr = 1e-4;                        ///< of the matrices; the trainer's rate policy does not apply to them
  Optimizer optimizer = Optimizer::AdamW;  ///< of the matrices, without weight decay and momentum
  FeedbackStart start = FeedbackStart::Zeros;
  /// B_0..B_L, each (size of h_l, C), to start from, as in DFA; `start` is then not used.
  std::vector<torch::Tensor> feedback = {};
  bool by_element = false;  ///< one row of B_l per element instead of one per channel

  struct Learner {
    static constexpr const char* rule = "ForwardDFA";
    double lr = 1e-4;
    Optimizer optimizer = Optimizer::AdamW;

    struct State {
      static constexpr bool wants_pushforward = true, data_parallel = true;

      BindContext context;
      double lr;
      std::optional<optim::AdamW> adam;  ///< without it a running mean

      template <class Model>
      void learn(Model& model, const Trace& trace, const std::vector<torch::Tensor>& matrices) {
        const auto directions = detail::drawn_directions(model, trace, matrices, context);
        auto estimates = detail::jacobian_estimates(model, trace, matrices, directions);
        context.mean(estimates, trace.error.size(0));
        follow(matrices, estimates);
      }

      /// One update of the matrices toward these.
      void follow(const std::vector<torch::Tensor>& matrices, const std::vector<torch::Tensor>& estimates) {
        const torch::NoGradGuard no_grad;
        for (std::size_t l = 0; l < matrices.size(); ++l) {
          auto B = matrices[l];
          if (!B.defined()) continue;
          if (adam) {
            B.mutable_grad() = B - estimates[l];
          } else {
            B.lerp_(estimates[l], lr);
          }
        }
        if (adam) adam->step();
      }

      NamedTensors named_tensors() const { return adam ? adam->named_tensors() : NamedTensors{}; }
    };

    State bind(const std::vector<torch::Tensor>& matrices, const BindContext& context) const {
      if (optimizer == Optimizer::SGD) return {context, lr, {}};
      std::vector<torch::Tensor> learned;
      for (const auto& B : matrices) {
        if (B.defined()) learned.push_back(B);
      }
      return {context, lr, optim::AdamW(learned, {.lr = lr, .weight_decay = 0})};
    }
  };
  using State = DirectFeedback<Learner>::State;

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    detail::expect::not_negative("ForwardDFA", "lr", lr);
    const DirectFeedback<Learner> direct{
        .learner = {.lr = lr, .optimizer = optimizer}, .start = start, .feedback = feedback, .by_element = by_element};
    return direct.bind(model, context);
  }
};

}  // namespace creditlib
