// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/bind_context.hpp>
#include <creditlib/credit/detail/direct_matrices.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/factored_credit.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/trace.hpp>
#include <cstdint>
#include <utility>
#include <vector>

namespace creditlib {

/// Where matrices that learn begin: at 0, so that hidden layers stay as they are until the feedback has learned
/// something, or at DFA's random ones.
enum class FeedbackStart { Zeros, Random };

/// Direct feedback whose matrices learn: the credit is DFA's, a_l = e B_l^T, and a learner changes B_l.
///
/// A learner is a copyable config with
///
/// - `static constexpr const char* rule`: the name in error messages;
/// - `State`, its run state, and `State bind(const std::vector<torch::Tensor>& feedback, const BindContext&) const`.
///   `feedback` is B_0..B_L; the state may keep these very tensors, and bind may change them.
///
/// and its state has
///
/// - `void learn(Model&, const Trace&, const std::vector<torch::Tensor>& feedback)`: changes the matrices in place. B_0
///   is undefined if the model has no embed parameters.
/// - optional: `NamedTensors named_tensors() const`: what a checkpoint keeps besides the matrices;
/// - optional: `static constexpr bool wants_pullback`, `wants_pushforward`: what it asks of the Trace;
/// - optional: `static constexpr bool graphable = true`: learn changes nothing on the host, so that CUDA graphs can hold
///   it;
/// - optional: `static constexpr bool data_parallel = true`: learn keeps the matrices equal in several processes
///   (BindContext::mean);
/// - optional: `static constexpr bool block_parallel = true`, with `std::vector<torch::Tensor> tensors_of(l) const` for
///   what it has of its own for B_l: learn changes B_l by h_l, the error and the target alone, and leaves it where h_l is
///   undefined (distributed::BlockTrainer).
///
/// Shapes, positions and options are DFA's. A step uses the matrices as they were before it learns.
template <class Learner>
struct DirectFeedback {
  Learner learner = {};
  FeedbackStart start = FeedbackStart::Zeros;
  /// B_0..B_L, as in DFA, to start from: copied; `start` is then not used.
  std::vector<torch::Tensor> feedback = {};
  bool by_element = false;  ///< one row of B_l per element instead of one per channel

  struct State : DFA::State {
    typename Learner::State learner;

    static constexpr bool wants_pullback = requires { requires Learner::State::wants_pullback; };
    static constexpr bool wants_pushforward = requires { requires Learner::State::wants_pushforward; };
    static constexpr bool graphable = detail::DeclaresGraphable<typename Learner::State>;
    static constexpr bool data_parallel = detail::IsDataParallel<typename Learner::State>;
    static constexpr bool block_parallel = detail::BlockParallel<typename Learner::State>;

    /// DFA's factors, of matrices that learning does not change.
    template <class Model>
    std::vector<FactoredCredit> factored_credit(Model& model, const Trace& trace) const {
      auto credits = DFA::State::factored_credit(model, trace);
      for (auto& a : credits) {
        if (a.defined()) a.right = a.right.clone();
      }
      return credits;
    }

    template <class Model>
    void learn(Model& model, const Trace& trace) {
      learner.learn(model, trace, std::as_const(feedback));
    }

    NamedTensors named_tensors() const {
      auto named = DFA::State::named_tensors();
      if constexpr (requires { learner.named_tensors(); }) {
        for (auto& entry : prefixed("learner", learner.named_tensors())) named.push_back(std::move(entry));
      }
      return named;
    }
    std::vector<torch::Tensor> tensors_of(std::int64_t l) const {
      auto tensors = DFA::State::tensors_of(l);
      if constexpr (detail::HasTensorsOf<typename Learner::State>) {
        for (const auto& tensor : learner.tensors_of(l)) tensors.push_back(tensor);
      }
      return tensors;
    }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    const auto make = [&](torch::IntArrayRef sizes) {
      return start == FeedbackStart::Random
                 ? detail::random_direct_matrix(context, sizes)
                 : torch::zeros(sizes, torch::TensorOptions(context.device).dtype(context.dtype));
    };
    auto matrices = detail::direct_matrices(Learner::rule, model, context, feedback, by_element, make);
    auto state = learner.bind(matrices, context);
    return {{std::move(matrices)}, std::move(state)};
  }
};

}  // namespace creditlib
