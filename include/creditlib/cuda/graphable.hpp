// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/concepts.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/trainer/sources.hpp>
#include <tuple>
#include <type_traits>
#include <utility>

namespace creditlib::detail {

/// Whether what a source does in a step is on the device alone: so it says, or there is nothing but its credit.
template <class State, class Model>
constexpr bool learns_on_device = DeclaresGraphable<State> || (!Learns<State, Model> && !SeesUpdates<State, Model>);

/// Whether a CUDA graph can hold the steps of a credit source: not if they change something on the host, which a replay
/// would not repeat.
template <class State, class Model>
constexpr bool graphable_source =
    learns_on_device<State, Model> && !HasLocalInputs<State, Model> && GivesCreditConst<State, Model>;

/// Fails to compile with the reason why a source is not graphable.
template <class State, class Model>
consteval bool source_is_graphable() {
  constexpr bool learns = Learns<State, Model> && !DeclaresGraphable<State>;
  static_assert(!learns,
                "creditlib: this credit source learns, and a CUDA graph would repeat what it drew and counted on the "
                "host when it was captured; use trainer.step instead of cuda::GraphedStep");
  constexpr bool sees_updates = SeesUpdates<State, Model> && !DeclaresGraphable<State>;
  static_assert(
      !sees_updates,
      "creditlib: this credit source has after_step, which a CUDA graph cannot call; use trainer.step instead of "
      "cuda::GraphedStep");
  constexpr bool has_local_inputs = HasLocalInputs<State, Model>;
  static_assert(!has_local_inputs,
                "creditlib: this credit source has local_inputs, for which random generators are restored on the host, "
                "and a CUDA graph cannot do that; use trainer.step instead of cuda::GraphedStep");
  constexpr bool stays = GivesCreditConst<State, Model>;
  static_assert(
      stays,
      "creditlib: credit() of this source is not const, and a CUDA graph would not repeat what it changes on the host; "
      "make it const, or use trainer.step instead of cuda::GraphedStep");
  return graphable_source<State, Model>;
}

/// A trainer's credit at compile time. The primary template is for trainers without credit sources: back-propagation.
template <class Trainer>
struct TrainersCredit {
  static constexpr bool can_be_graphed = true;
  static consteval bool graphable() { return true; }
  static std::vector<torch::Tensor> tensors(const Trainer&) { return {}; }
};

template <class Model, class Credit, class Schedule, class Normalizer, class LocalLoss, class Objective>
struct TrainersCredit<LocalTrainer<Model, Credit, Schedule, Normalizer, LocalLoss, Objective>> {
  using Trainer = LocalTrainer<Model, Credit, Schedule, Normalizer, LocalLoss, Objective>;
  using Traits = SourceTraits<Credit, Model>;

  using States = decltype(Traits::states(std::declval<typename Traits::State&>()));

  static constexpr bool can_be_graphed = []<class... S>(std::type_identity<std::tuple<S&...>>) {
    return (graphable_source<S, Model> && ...);
  }(std::type_identity<States>{});
  /// The same; fails to compile with the reason if it is false.
  static consteval bool graphable() {
    return []<class... S>(std::type_identity<std::tuple<S&...>>) {
      return (source_is_graphable<S, Model>() & ...);
    }(std::type_identity<States>{});
  }

  /// The sources' tensors, such as feedback matrices.
  static std::vector<torch::Tensor> tensors(const Trainer& trainer) {
    std::vector<torch::Tensor> tensors;
    const auto collect = [&]<class State>(const State& state) {
      if constexpr (HasNamedTensors<State>) {
        for (const auto& [name, tensor] : state.named_tensors()) tensors.push_back(tensor);
      }
    };
    std::apply([&](const auto&... states) { (collect(states), ...); }, Traits::states(trainer.state()));
    return tensors;
  }
};

}  // namespace creditlib::detail

namespace creditlib::cuda {

/// Whether cuda::GraphedStep accepts a trainer; if not, constructing one fails to compile with the reason.
template <class Trainer>
concept Graphable = detail::TrainersCredit<Trainer>::can_be_graphed;

}  // namespace creditlib::cuda
