// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/local_trainer.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/trace.hpp>
#include <memory>
#include <vector>

namespace creditlib {

namespace detail {

/// A source that keeps the Trace that it is shown.
struct TraceKeeper {
  static constexpr bool wants_pullback = true, wants_pushforward = true;
  static constexpr bool keeps_for_others = true;  ///< who may not push it forward: no network is refused for that
  std::shared_ptr<Trace> kept = std::make_shared<Trace>();

  template <class Model>
  std::vector<torch::Tensor> credit(Model&, const Trace& trace) const {
    *kept = trace;
    auto credits = trace.branch;  // of the right shapes; nobody reads them
    credits.insert(credits.begin(), trace.hidden.front());
    return credits;
  }
};

}  // namespace detail

/// The Trace that a trainer's credits(x, y) would show a rule: for testing a rule without a trainer.
///
///     auto state = MyRule{}.bind(model, context);
///     const auto a = state.credit(model, creditlib::trace_of(model, x, y));
///
/// - It has the right to pull back and to push forward. From a trainer only a source that declares `wants_pullback` or
///   `wants_pushforward` gets these; for all others Trace::pullback and Trace::pushforward throw.
/// - In the model's present mode. Nothing is changed: not the running statistics, not torch's global generators.
/// - Its graph lives as long as the Trace or a copy of it.
/// - Cost: one forward pass, and memory for its graph.
/// - Throws Error for a model or a batch that a LocalTrainer would refuse.
template <class Model, class Objective = CrossEntropy>
Trace trace_of(const Model& model, const torch::Tensor& x, const torch::Tensor& y, const Objective& objective = {}) {
  const detail::TraceKeeper keeper;
  LocalTrainer(model, keeper, {}, Always{}, RowRms{}, InnerProduct{}, objective).raw_credits(x, y);
  return *keeper.kept;
}

}  // namespace creditlib
