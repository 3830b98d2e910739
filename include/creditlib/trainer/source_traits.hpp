// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <creditlib/concepts.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/trainer/data_parallel.hpp>
#include <creditlib/trainer/requirements.hpp>
#include <string>
#include <tuple>
#include <utility>

namespace creditlib::detail {

/// The sources of a credit config: itself, or the two of a Mix; their requirements; their states.
template <class Credit, class Model>
struct SourceTraits {
  static constexpr std::size_t count = 1;
  using State = CreditState<Credit, Model>;
  static constexpr bool gives_factors = GivesFactors<State, Model>;
  static constexpr bool sees_updates = SeesUpdates<State, Model>;
  static constexpr bool transports = HasTransport<State, Model>;
  static constexpr TraceRights wanted = wanted_rights<Credit, State>();
  static constexpr bool reads_error_only = gives_factors && ReadsErrorOnly<State> && !Learns<State, Model> &&
                                           !SeesUpdates<State, Model> && !wanted.pullback && !wanted.pushforward;
  /// Whether its blocks can be trained in different processes.
  static constexpr bool block_parallel = BlockParallel<State> && GivesCreditConst<State, Model> &&
                                         !HasLocalInputs<State, Model> && !transports && !wanted.pullback &&
                                         !wanted.pushforward;

  static constexpr std::array<const char*, 1> ties{what_ties_to_one_process<State, Model>()};
  static constexpr std::array<bool, 1> draws_for_all{IsDataParallel<State>};

  static consteval bool sound() { return credit_is_sound<Credit, Model>(); }
  static constexpr std::array<TraceRights, 1> rights() {
    auto rights = wanted;
    rights.transported = transports;
    return {rights};
  }
  static State bind(const Credit& credit, Model& model, const std::array<BindContext, 1>& contexts) {
    if constexpr (Binds<Credit, Model>) {
      return credit.bind(model, contexts[0]);
    } else {
      return credit;
    }
  }
  template <class S>
  static auto states(S& state) {
    return std::tie(state);
  }
  static std::string prefix(std::size_t) { return "credit"; }
};

template <class First, class Second, class Model>
struct SourceTraits<Mix<First, Second>, Model> {
  using A = SourceTraits<First, Model>;
  using B = SourceTraits<Second, Model>;
  static constexpr std::size_t count = 2;
  static constexpr bool gives_factors = A::gives_factors || B::gives_factors;
  static constexpr bool sees_updates = A::sees_updates || B::sees_updates;
  static constexpr bool reads_error_only = A::reads_error_only && B::reads_error_only;
  static constexpr bool block_parallel = false;
  static constexpr std::array<const char*, 2> ties{A::ties[0], B::ties[0]};
  static constexpr std::array<bool, 2> draws_for_all{A::draws_for_all[0], B::draws_for_all[0]};
  struct State {
    typename A::State first;
    typename B::State second;
  };

  static consteval bool sound() {
    if constexpr (all_of({A::sound(), B::sound()})) {
      constexpr bool both = HasLocalInputs<typename A::State, Model> && HasLocalInputs<typename B::State, Model>;
      static_assert(
          !both,
          "creditlib: both sources of this Mix have local_inputs, and a step can train at one set of states only");
      constexpr bool both_transport = A::transports && B::transports;
      static_assert(!both_transport,
                    "creditlib: both sources of this Mix have transport, and a step's backward can read one set of "
                    "tensors in the place of the parameters only");
      return !both && !both_transport;
    } else {
      return false;
    }
  }
  static constexpr bool transports = A::transports || B::transports;
  static constexpr std::array<TraceRights, 2> rights() { return {A::rights()[0], B::rights()[0]}; }
  static State bind(const Mix<First, Second>& credit, Model& model, const std::array<BindContext, 2>& contexts) {
    auto first = A::bind(credit.first, model, {contexts[0]});
    return {std::move(first), B::bind(credit.second, model, {contexts[1]})};
  }
  template <class S>
  static auto states(S& state) {
    return std::tie(state.first, state.second);
  }
  static std::string prefix(std::size_t i) { return i == 0 ? "credit.first" : "credit.second"; }
};

}  // namespace creditlib::detail
