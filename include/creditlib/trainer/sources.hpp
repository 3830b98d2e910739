// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>

#include <array>
#include <creditlib/concepts.hpp>
#include <creditlib/distributed/group.hpp>
#include <creditlib/error.hpp>
#include <creditlib/normalizer/row_rms.hpp>
#include <creditlib/scope/generators.hpp>
#include <creditlib/scope/untouched.hpp>
#include <creditlib/statistics/seeded.hpp>
#include <creditlib/trainer/credit_checks.hpp>
#include <creditlib/trainer/mixing.hpp>
#include <creditlib/trainer/source_traits.hpp>
#include <creditlib/trainer_options.hpp>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// The bound sources of a trainer and their generators.
template <class Credit, class Model>
class Sources {
 public:
  using Traits = SourceTraits<Credit, Model>;
  using State = typename Traits::State;
  static constexpr std::size_t count = Traits::count;

  /// `labels`: whether the trainer's objective takes them.
  Sources(const Credit& credit, Model& model, torch::Device device, torch::Dtype dtype, const TrainerOptions& options,
          bool labels, std::shared_ptr<distributed::Group> group)
      : generators_(make_generators(options.seed)),
        device_generators_(on_device(generators_, device, options.draws)),
        state_(Traits::bind(credit, model, contexts(device, dtype, labels, std::move(group)))) {}

  State& state() { return state_; }
  const State& state() const { return state_; }
  /// Those on the CPU, then, with Draws::Device, those on the device.
  std::vector<torch::Generator> generators() const {
    std::vector<torch::Generator> all(generators_.begin(), generators_.end());
    for (const auto& generator : device_generators_) {
      if (generator.defined()) all.push_back(generator);
    }
    return all;
  }

  /// Throws Error for a source that several processes would not train as one does.
  static void check_data_parallel() {
    for (std::size_t i = 0; i < count; ++i) {
      const std::string why = Traits::ties[i];
      if (why.empty()) continue;
      fail(name(i), " ", why,
           ", so TrainerOptions::group cannot be more than one process: each would train on another "
           "state. Train it in one process, or declare `static constexpr bool data_parallel = true` of its state (of "
           "LocalHeads the head), if that stays equal on all and what it compares are the samples of all, by "
           "distributed::gather (docs/distributed.md).");
    }
  }

  /// What the sources that have a weight, or that learn, ask of a Trace.
  static TraceRights rights(const Mixing<count>& now) {
    TraceRights any;
    for (std::size_t i = 0; i < count; ++i) {
      if (now.weights[i] == 0 && !now.learns[i]) continue;
      const auto wanted = Traits::rights()[i];
      any.pullback |= wanted.pullback || wanted.transported;
      any.pushforward |= wanted.pushforward;
    }
    return any;
  }

  /// Whether any of them pushes forward.
  static consteval bool pushes() {
    if (requires { Credit::keeps_for_others; }) return false;
    for (const auto& rights : Traits::rights()) {
      if (rights.pushforward) return true;
    }
    return false;
  }

  /// The mixed credits of the sources that have a weight, before the normalizer; a_0 only if there is an embed to train.
  std::vector<torch::Tensor> credit(Model& model, const Trace& trace, const Mixing<count>& now) {
    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> mixed;
    const bool alone = now.active() == 1, embed = has_embed(model);
    each(trace, [&](std::size_t i, auto& state, const Trace& seen) {
      if (now.weights[i] == 0) return;
      auto credits = state.credit(model, seen);
      check_credits(name(i), credits, trace, model, embed);
      if (!embed) credits[0].reset();
      if (alone) {
        mixed = std::move(credits);
      } else {
        accumulate(mixed, credits, now.weights[i]);
      }
    });
    return mixed;
  }

  /// Whether any source can give its credit as factors.
  static constexpr bool factors = Traits::gives_factors;

  /// The credit of the only source that has a weight, before the normalizer, as factors if it can give it so.
  std::optional<std::vector<FactoredCredit>> factored_credit(Model& model, const Trace& trace,
                                                             const Mixing<count>& now) {
    const torch::NoGradGuard no_grad;
    std::optional<std::vector<FactoredCredit>> factored;
    if (now.active() != 1) return factored;
    each(trace, [&]<class S>(std::size_t i, S& state, const Trace& seen) {
      if constexpr (GivesFactors<S, Model>) {
        if (now.weights[i] == 0) return;
        factored = state.factored_credit(model, seen);
        check_factored_credits(*factored, model, trace);
      }
    });
    return factored;
  }

  /// The states at which the local step is to run, if a source that has a weight asks for others than the trace's.
  std::optional<std::vector<torch::Tensor>> local_inputs(Model& model, const Trace& trace, const Mixing<count>& now) {
    const torch::NoGradGuard no_grad;
    std::optional<std::vector<torch::Tensor>> inputs;
    each(trace, [&]<class S>(std::size_t i, S& state, const Trace& seen) {
      if constexpr (HasLocalInputs<S, Model>) {
        if (now.weights[i] != 0) inputs = state.local_inputs(model, seen);
      }
    });
    return inputs;
  }

  /// What stands in the place of parameters in the backward passes of the source that has transport, if it has a weight
  /// or learns.
  Transport transport(Model& model, const Mixing<count>& now) {
    const torch::NoGradGuard no_grad;
    Transport transport;
    each_state([&]<class S>(std::size_t i, S& state) {
      if constexpr (HasTransport<S, Model>) {
        if (now.weights[i] != 0 || now.learns[i]) transport = {model->parameters(), state.transport(model)};
      }
    });
    return transport;
  }
  /// The parameters that transport puts something in the place of, by name. Throws Error if that does not fit the model;
  /// draws nothing and changes nothing.
  NamedTensors transported_parameters(Model& model) {
    NamedTensors transported;
    if constexpr (Traits::transports) {
      const scope::RestoredGenerators generators(this->generators());
      const scope::RestoredTensors state(tensors_that_credit_may_change());
      Mixing<count> all;
      all.weights.fill(1);
      const auto [parameters, feedback] = transport(model, all);
      const ExchangedStorages fits({parameters, feedback});
      for (const auto& named : model->named_parameters()) {
        for (std::size_t i = 0; i < parameters.size(); ++i) {
          if (!feedback[i].defined() || !parameters[i].is_same(named.value())) continue;
          transported.emplace_back(named.key(), named.value());
        }
      }
    }
    return transported;
  }
  /// Whether the source that has transport has a weight or learns.
  static bool transports(const Mixing<count>& now) {
    bool any = false;
    for (std::size_t i = 0; i < count; ++i) {
      any = any || (Traits::rights()[i].transported && (now.weights[i] != 0 || now.learns[i]));
    }
    return any;
  }
  /// Whether the local step is transported.
  static bool transported(const Mixing<count>& now) {
    bool any = false;
    for (std::size_t i = 0; i < count; ++i) any = any || (now.weights[i] != 0 && Traits::rights()[i].transported);
    return any;
  }

  /// Lets the sources learn that the schedule lets learn, with grad mode on.
  void learn(Model& model, const Trace& trace, const Mixing<count>& now) {
    const torch::AutoGradMode grad(true);
    each(trace, [&]<class S>(std::size_t i, S& state, const Trace& seen) {
      if constexpr (Learns<S, Model>) {
        if (now.learns[i]) state.learn(model, seen);
      }
    });
  }

  static constexpr bool sees_updates = Traits::sees_updates;

  /// Shows the sources the update that was made.
  void after_step(Model& model, const Trace& trace) {
    each(trace, [&]<class S>(std::size_t, S& state, const Trace& seen) {
      if constexpr (SeesUpdates<S, Model>) state.after_step(model, seen);
    });
  }

  /// The sources' own tensors, "credit.…" or "credit.first.…" and "credit.second.…".
  NamedTensors named_tensors() const {
    NamedTensors named;
    each_state([&]<class S>(std::size_t i, const S& state) {
      if constexpr (HasNamedTensors<S>) {
        for (auto& entry : prefixed(Traits::prefix(i), state.named_tensors())) named.push_back(std::move(entry));
      }
    });
    return named;
  }

  /// The sources' tensors that belong to h_l, and to no other hidden state.
  std::vector<torch::Tensor> tensors_of(std::int64_t l) const {
    std::vector<torch::Tensor> tensors;
    each_state([&]<class S>(std::size_t, const S& state) {
      if constexpr (HasTensorsOf<S>) {
        for (const auto& tensor : state.tensors_of(l)) tensors.push_back(tensor);
      }
    });
    return tensors;
  }

  /// The tensors of those states that a call of credit could change: none if all of its calls are const.
  std::vector<torch::Tensor> tensors_that_credit_may_change() const {
    std::vector<torch::Tensor> tensors;
    each_state([&]<class S>(std::size_t, const S& state) {
      if constexpr (HasNamedTensors<S> &&
                    (!GivesCreditConst<S, Model> || HasLocalInputs<S, Model> || HasTransport<S, Model>)) {
        for (const auto& [name, tensor] : state.named_tensors()) tensors.push_back(tensor);
      }
    });
    return tensors;
  }

 private:
  /// One per source; the first source draws as it would alone.
  static std::array<torch::Generator, count> make_generators(std::int64_t seed) {
    std::array<torch::Generator, count> generators;
    for (std::size_t i = 0; i < count; ++i) generators[i] = statistics::seeded(static_cast<std::uint64_t>(seed), i);
    return generators;
  }
  /// One for each on the CPU, of its seed, if a step draws elsewhere.
  static std::array<torch::Generator, count> on_device(const std::array<torch::Generator, count>& on_cpu,
                                                       torch::Device device, Draws draws) {
    std::array<torch::Generator, count> generators;
    if (draws == Draws::Host || device.is_cpu()) return generators;
    for (std::size_t i = 0; i < count; ++i) {
      generators[i] = at::globalContext().defaultGenerator(device).clone();
      generators[i].set_current_seed(on_cpu[i].current_seed());
    }
    return generators;
  }
  std::array<BindContext, count> contexts(torch::Device device, torch::Dtype dtype, bool labels,
                                          std::shared_ptr<distributed::Group> group) const {
    const auto of = [&](std::size_t i) {
      return BindContext{device, dtype, generators_[i], device_generators_[i], labels, group};
    };
    if constexpr (count == 1) {
      return {of(0)};
    } else {
      return {of(0), of(1)};
    }
  }

  static std::string name(std::size_t i) {
    return count == 1 ? "The credit source" : "Credit source " + std::to_string(i) + " of the Mix";
  }

  /// Calls action(i, state, the trace as source i may see it) for each source.
  template <class Action>
  void each(const Trace& trace, const Action& action) {
    std::size_t i = 0;
    const auto call = [&](auto& state) {
      action(i, state, TraceAccess::restricted(trace, Traits::rights()[i]));
      ++i;
    };
    std::apply([&](auto&... states) { (call(states), ...); }, Traits::states(state_));
  }
  template <class Action>
  void each_state(const Action& action) const {
    std::size_t i = 0;
    std::apply([&](const auto&... states) { (action(i++, states), ...); }, Traits::states(state_));
  }
  template <class Action>
  void each_state(const Action& action) {
    std::size_t i = 0;
    std::apply([&](auto&... states) { (action(i++, states), ...); }, Traits::states(state_));
  }

  /// Adds weight times the unit-RMS credit.
  static void accumulate(std::vector<torch::Tensor>& mixed, const std::vector<torch::Tensor>& credits, double weight) {
    if (mixed.empty()) mixed.resize(credits.size());
    for (std::size_t l = 0; l < credits.size(); ++l) {
      if (!credits[l].defined()) continue;
      const auto part = RowRms{}(credits[l]).mul_(weight);
      mixed[l] = mixed[l].defined() ? mixed[l] + part : part;
    }
  }

  std::array<torch::Generator, count> generators_, device_generators_;
  State state_;
};

}  // namespace creditlib::detail
