// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/credit/detail/direct_path.hpp>
#include <creditlib/credit/direct_feedback.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/optim/adamw.hpp>
#include <cstdint>
#include <utility>
#include <vector>

namespace creditlib {

/// Direct Kolen-Pollack: DFA whose matrices learn as a readout would that is attached to their hidden state.
///
///     a_l = e B_l^T,    B_l by AdamW with the gradient mean_b h_l[b] e[b]^T,    B_l = 0 at the start
///
/// At h_L that is the gradient of a linear readout's own weights W: with the optimizer, rate and decay of the readout, B_L
/// and W^T come closer by the decay at every step, as in Kolen-Pollack learning. Below, B_l follows the part of the
/// network between h_l and the logits as far as a linear readout of h_l can.
///
/// - Shapes, positions: as DFA. The gradient is summed over the positions that a_l is the same at.
/// - Its normalizer is Raw: the matrices learn the size of the gradient too.
/// - Cost: DFA's, and as many multiplications for the gradients; d C numbers for each hidden state, and twice that for the
///   optimizer's moments. Credit reads the error alone, learning also the hidden states; neither reads a weight.
/// - Throws Error at bind for an lr or a decay that is negative, and for explicit feedback that does not fit.
/// - Source: Webster, Choi, Ahn, "Learning the connections in direct feedback alignment", 2020 (OpenReview zgGmAx9ZcY).
struct DirectKolenPollack {
  using Normalizer = Raw;

  double lr = 1e-4;     ///< learning rate of the matrices; that of the trainer's rate policy does not apply
  double decay = 1e-6;  ///< weight decay of the matrices: of each, lr * decay is taken off per step
  FeedbackStart start = FeedbackStart::Zeros;
  /// B_0..B_L, each (size of h_l, C), to start from, as in DFA; `start` is then not used.
  std::vector<torch::Tensor> feedback = {};
  bool by_element = false;  ///< one row of B_l per element instead of one per channel

  struct Learner {
    static constexpr const char* rule = "DirectKolenPollack";
    double lr = 1e-4, decay = 1e-6;

    struct State {
      static constexpr bool graphable = true, data_parallel = true, block_parallel = true;

      BindContext context;
      std::int64_t first;  ///< the hidden state of the optimizer's parameter 0
      optim::AdamW optimizer;

      template <class Model>
      void learn(Model& model, const Trace& trace, const std::vector<torch::Tensor>& matrices) {
        const torch::NoGradGuard no_grad;
        const detail::OutputRows error(trace.error / static_cast<double>(trace.error.size(0)));
        std::vector<torch::Tensor> gradients(matrices.size());
        for (std::size_t l = 0; l < matrices.size(); ++l) {
          const auto& B = matrices[l];
          if (!B.defined() || !trace.hidden[l].defined()) continue;
          gradients[l] = detail::DirectPath(model, trace, l, B, error).weight_gradient(trace.hidden[l], error);
        }
        context.mean(gradients, trace.error.size(0));
        for (std::size_t l = 0; l < matrices.size(); ++l) {
          if (auto B = matrices[l]; B.defined()) B.mutable_grad() = std::move(gradients[l]);
        }
        optimizer.step();
      }

      NamedTensors named_tensors() const { return optimizer.named_tensors(); }
      std::vector<torch::Tensor> tensors_of(std::int64_t l) const {
        return l < first ? std::vector<torch::Tensor>{} : optimizer.tensors_of(static_cast<std::size_t>(l - first));
      }
    };

    State bind(const std::vector<torch::Tensor>& matrices, const BindContext& context) const {
      std::vector<torch::Tensor> learned;
      for (const auto& B : matrices) {
        if (B.defined()) learned.push_back(B);
      }
      return {context, matrices[0].defined() ? 0 : 1, optim::AdamW(learned, {.lr = lr, .weight_decay = decay})};
    }
  };
  using State = DirectFeedback<Learner>::State;

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    detail::expect::not_negative("DirectKolenPollack", "lr", lr);
    detail::expect::not_negative("DirectKolenPollack", "decay", decay);
    const DirectFeedback<Learner> direct{
        .learner = {.lr = lr, .decay = decay}, .start = start, .feedback = feedback, .by_element = by_element};
    return direct.bind(model, context);
  }
};

}  // namespace creditlib
