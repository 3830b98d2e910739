// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/credit/detail/direct_matrices.hpp>
#include <creditlib/credit/detail/jacobian_estimates.hpp>
#include <creditlib/credit/direct_feedback.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <utility>
#include <vector>

namespace creditlib {

/// GrAPE, gradient-aligned projected error: DFA whose matrices turn toward the network's Jacobian, estimated along one
/// random direction per step, all hidden states at once. Columns keep the norm 1: only their directions learn.
///
///     a_l = e B_l^T,    B_l <- unit(B_l - lr dA/dB_l),    A = 1 - mean_c cos(column c of B_l, column c of J_l)
///     J_l = mean_b u_l d^T,    d = sum_l (dlogits/dh_l) u_l,    u_l ~ N(0, 1) per sample;    unit divides columns by norms
///
/// - Shapes, positions: as DFA. With positions J_l is the mean over them, as in ForwardDFA.
/// - Published with anchors: a step of back-propagation on one batch every few epochs.
///
///       LocalTrainer trainer(model, Mix{GrAPE{}, Oracle{}}, options, Anchor{.every = 5}, Raw{});
///
/// - Its normalizer is Raw, as published: credit shrinks as samples are learned.
/// - Cost: DFA's; to learn one pushforward (Trace::pushforward) and the product u_l^T d per hidden state; d C numbers for
///   each. Credit reads the error alone; learning Jacobian-vector products.
/// - Throws Error at bind for a negative lr, and for explicit feedback that does not fit.
/// - Source: Caillon, Fagnou, Delattre, Allauzen, "Scaling direct feedback learning with Jacobian alignment
///   guarantees", ICLR 2026, which perturbs weights where a layer has fewer of them than activities.
struct GrAPE {
  using Normalizer = Raw;

  double lr = 0.1;  ///< of the matrices; the trainer's rate policy does not apply to them
  /// B_0..B_L, each (size of h_l, C), as in DFA; their columns are divided by their norms. If empty, random columns.
  std::vector<torch::Tensor> feedback = {};
  bool by_element = false;  ///< one row of B_l per element instead of one per channel

  struct Learner {
    static constexpr const char* rule = "GrAPE";
    double lr = 0.1;

    struct State {
      static constexpr bool wants_pushforward = true, data_parallel = true;

      BindContext context;
      double lr;

      template <class Model>
      void learn(Model& model, const Trace& trace, const std::vector<torch::Tensor>& matrices) {
        const auto directions = detail::drawn_directions(model, trace, matrices, context);
        auto estimates = detail::jacobian_estimates(model, trace, matrices, directions);
        context.mean(estimates, trace.error.size(0));
        turn(matrices, estimates);
      }

      /// One turn of the matrices' columns toward those of these.
      void turn(const std::vector<torch::Tensor>& matrices, const std::vector<torch::Tensor>& estimates) const {
        const torch::NoGradGuard no_grad;
        for (std::size_t l = 0; l < matrices.size(); ++l) {
          auto B = matrices[l];
          if (!B.defined() || lr == 0) continue;
          const auto aim = with_unit_columns(estimates[l]);
          const auto cosine = (B * aim).sum(0, /*keepdim=*/true);
          B.copy_(with_unit_columns(B + (aim - cosine * B) * (lr / static_cast<double>(B.size(1)))));
        }
      }
    };

    State bind(const std::vector<torch::Tensor>&, const BindContext& context) const { return {context, lr}; }
  };
  using State = DirectFeedback<Learner>::State;

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    detail::expect::not_negative("GrAPE", "lr", lr);
    auto matrices =
        detail::direct_matrices(Learner::rule, model, context, feedback, by_element,
                                [&](torch::IntArrayRef sizes) { return detail::random_unit_columns(context, sizes); });
    if (!feedback.empty()) {
      for (auto& B : matrices) {
        if (B.defined()) B = with_unit_columns(B);
      }
    }
    const DirectFeedback<Learner> direct{
        .learner = {.lr = lr}, .feedback = std::move(matrices), .by_element = by_element};
    return direct.bind(model, context);
  }

 private:
  /// Columns of norm 1; one of zeros stays so.
  static torch::Tensor with_unit_columns(const torch::Tensor& matrix) {
    const auto norms = matrix.norm(2, 0, /*keepdim=*/true);
    return matrix / at::where(norms > 0, norms, 1);
  }
};

}  // namespace creditlib
