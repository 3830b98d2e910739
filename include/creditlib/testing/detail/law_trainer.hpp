// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/any_trainer.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/reads.hpp>
#include <creditlib/schedule/always.hpp>
#include <creditlib/schedule/blend.hpp>
#include <creditlib/scope/untouched.hpp>
#include <creditlib/statistics/seeded.hpp>
#include <creditlib/testing/detail/block_alone.hpp>
#include <creditlib/testing/detail/compare.hpp>
#include <creditlib/testing/model_case.hpp>
#include <creditlib/trace_of.hpp>
#include <creditlib/trainer/access.hpp>
#include <creditlib/trainer/source_traits.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

/// Trainers of any model and rule behind one type, so that a law is written once and compiled once.
namespace creditlib::detail::laws {

using testing::Batch;

/// A rule's own functions on one finished pass, without the trainer's care around them.
struct Alone {
  std::function<std::vector<torch::Tensor>()> credit;  ///< of a Mix that of both sources, one after the other
  std::function<void()> learn;                         ///< empty if the rule does not learn
};

/// What a rule does in a process that does not have all blocks.
struct InBlock {
  std::vector<torch::Tensor> credit;
  NamedTensors
      learned;  ///< its tensors, without those of hidden states that are other processes', after it has learned
};

/// AnyTrainer on a law's batches, with what the laws alone ask of a trainer.
class LawTrainer {
 public:
  virtual ~LawTrainer() = default;

  StepResult step(const Batch& batch) { return trainer_.step(batch.x, batch.y); }
  std::vector<torch::Tensor> credits(const Batch& batch) { return trainer_.credits(batch.x, batch.y); }
  std::vector<torch::Tensor> raw_credits(const Batch& batch) { return trainer_.raw_credits(batch.x, batch.y); }
  std::vector<torch::Tensor> gradients(const Batch& batch) { return trainer_.gradients(batch.x, batch.y); }
  void learn(const Batch& batch) { trainer_.learn(batch.x, batch.y); }
  void end_epoch() { trainer_.end_epoch(); }
  void save(const std::filesystem::path& path) const { trainer_.save(path); }
  void load(const std::filesystem::path& path) { trainer_.load(path); }
  Path path() const { return trainer_.path(); }
  torch::nn::Module& module() { return trainer_.module(); }

  virtual Alone alone(const Batch& batch) = 0;
  /// h_0, f_0..f_{L-1}, logits, each on a graph of its own, of a pass that the law runs itself.
  virtual std::vector<torch::Tensor> separate_outputs(const torch::Tensor& x) = 0;
  /// The same as the local step has them: if the rule has local_inputs, blocks and readout are run at those.
  virtual std::vector<torch::Tensor> local_outputs(const Batch& batch) = 0;
  /// What the rule says that its credit is computed from, of a Mix both sources together; nothing if it does not say.
  virtual std::optional<Reads> reads() const = 0;
  /// The sources' credit on a finished pass, one after the other, once what `others` names is replaced by other numbers.
  virtual std::vector<torch::Tensor> credit_with_other(const Batch& batch, Reads others) = 0;
  /// A source's credit, and what it learns if it is let, in a process that has this block alone; none: in one that has
  /// all. The trainer is not to be used afterwards.
  virtual InBlock in_block(const Batch& batch, std::optional<std::size_t> block, bool let_learn) = 0;
  /// What the next step's backward passes read in the place of parameters.
  virtual Transport transport() = 0;
  /// The objective's batch mean.
  virtual torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor& y) const = 0;
  /// dloss_i/dh_0..dloss_i/dh_L of one pass.
  virtual std::vector<torch::Tensor> true_gradients(const Batch& batch) = 0;
  /// The sources' factored credit, multiplied out; with `only_error` of a Trace that has nothing but error and target.
  virtual std::vector<torch::Tensor> factored_credit(const Batch& batch, bool only_error) = 0;

 protected:
  explicit LawTrainer(AnyTrainer trainer) : trainer_(std::move(trainer)) {}

  AnyTrainer trainer_;
};

/// What a law trains a rule under: a Mix needs a schedule of two.
template <class Rule>
struct ScheduleOf {
  using type = Always;
};
template <class First, class Second>
struct ScheduleOf<Mix<First, Second>> {
  using type = Blend;
};

template <class Model, class Rule, class Objective>
auto local_trainer(const Model& model, const Rule& rule, const TrainerOptions& options, const Objective& objective) {
  return LocalTrainer(model, rule, options, typename ScheduleOf<Rule>::type{}, RowRms{}, InnerProduct{}, objective);
}

/// A Trace of as many hidden states that has nothing but error, target and objective: no graph, and all other tensors
/// are empty. (Undefined ones would end the program in a rule that reads them.)
inline Trace error_alone(const Trace& trace) {
  const auto empty = [](const torch::Tensor& t) { return torch::empty({0}, t.options()); };
  Trace blank = trace;
  TraceAccess::attach(blank, nullptr);
  blank.input = empty(trace.input);
  for (auto& h : blank.hidden) h = empty(h);
  for (auto& f : blank.branch) f = empty(f);
  blank.logits = empty(trace.logits);
  return blank;
}

template <class Model, class Rule, class Objective>
class TrainerOf final : public LawTrainer {
  using Own = decltype(local_trainer(std::declval<const Model&>(), std::declval<const Rule&>(), TrainerOptions{},
                                     std::declval<const Objective&>()));
  using Traits = SourceTraits<Rule, Model>;

 public:
  TrainerOf(const Model& model, const Rule& rule, const TrainerOptions& options, const Objective& objective)
      : LawTrainer(local_trainer(model, rule, options, objective)),
        own_(*trainer_.target<Own>()),
        objective_(objective) {}

  Alone alone(const Batch& batch) override {
    const auto trace = trace_of(own_.model(), batch.x, batch.y, objective_);
    Alone alone;
    alone.credit = [this, trace] {
      std::vector<torch::Tensor> credits;
      each_source(trace, [&](auto& state, const Trace& seen) {
        for (auto& a : state.credit(own_.model(), seen)) credits.push_back(std::move(a));
      });
      return credits;
    };
    if (learns()) {
      alone.learn = [this, trace] {
        each_source(trace, [&]<class State>(State& state, const Trace& seen) {
          if constexpr (Learns<State, Model>) state.learn(own_.model(), seen);
        });
      };
    }
    return alone;
  }

  std::vector<torch::Tensor> separate_outputs(const torch::Tensor& x) override {
    auto& model = own_.model();
    std::vector<torch::Tensor> outputs{model->embed(x)};
    torch::Tensor h = outputs[0].detach();
    for (std::int64_t l = 0; l < model->blocks(); ++l) {
      outputs.push_back(model->block(l, h));
      h = torch::Tensor(model->join(l, h, outputs.back())).detach();
    }
    outputs.push_back(model->readout(h));
    return outputs;
  }

  std::vector<torch::Tensor> local_outputs(const Batch& batch) override {
    auto& model = own_.model();
    const auto trace = trace_of(model, batch.x, batch.y, objective_);
    auto outputs = separate_outputs(batch.x);
    std::optional<std::vector<torch::Tensor>> states;
    {
      const torch::AutoGradMode as_in_a_script(true);  // a rule must not depend on it
      each_source(trace, [&]<class State>(State& state, const Trace& seen) {
        if constexpr (HasLocalInputs<State, Model>) states = state.local_inputs(model, seen);
      });
    }
    if (states) {
      for (std::int64_t l = 0; l < model->blocks(); ++l) {
        const auto at = static_cast<std::size_t>(l);
        outputs[at + 1] = model->block(l, states->at(at).detach());
      }
      outputs.back() = model->readout(states->back().detach());
    }
    return outputs;
  }

  std::optional<Reads> reads() const override {
    std::optional<Reads> all = Reads::Nothing;
    std::apply(
        [&](const auto&... states) {
          const auto add = [&]<class State>(const State& state) {
            if constexpr (SaysWhatItReads<State>) {
              if (all) all = *all | state.reads();
            } else {
              all = std::nullopt;
            }
          };
          (add(states), ...);
        },
        Traits::states(own_.state()));
    return all;
  }

  std::vector<torch::Tensor> credit_with_other(const Batch& batch, Reads others) override {
    auto& model = own_.model();
    auto trace = trace_of(model, batch.x, batch.y, objective_);
    replace(trace, others);
    const torch::NoGradGuard no_grad;
    const scope::RestoredTensors weights(model->parameters());
    replace_weights(others);
    const scope::RestoredGenerators generators(TrainerAccess::generators(own_));
    std::vector<torch::Tensor> credits;
    std::size_t i = 0;
    const auto call = [&]<class State>(State& state) {
      std::vector<torch::Tensor> own;
      if constexpr (HasNamedTensors<State>) {
        for (const auto& [name, tensor] : state.named_tensors()) own.push_back(tensor);
      }
      const scope::RestoredTensors restored(own);
      if constexpr (HasTransport<State, Model>)
        TraceAccess::set_transport(trace, {model->parameters(), state.transport(model)});
      for (auto& a : state.credit(model, TraceAccess::restricted(trace, Traits::rights()[i++])))
        credits.push_back(a.defined() ? a.clone() : a);
    };
    std::apply([&](auto&... states) { (call(states), ...); }, Traits::states(own_.state()));
    return credits;
  }

  InBlock in_block(const Batch& batch, std::optional<std::size_t> block, bool let_learn) override {
    auto& model = own_.model();
    auto trace = trace_of(model, batch.x, batch.y, objective_);
    InBlock done;
    each_source(trace, [&]<class State>(State& state, Trace seen) {
      std::set<std::string> elsewhere;
      if (block) {
        const auto tensors = tensors_elsewhere(state, *block, trace.branch.size());
        elsewhere = names_of(state, tensors);
        leave_block(model, *block, tensors);
        leave_states(seen, *block, !reads() || any_of(*reads(), Reads::Error));
      }
      {
        const torch::NoGradGuard no_grad;
        done.credit = copies(state.credit(model, seen));
      }
      if (!let_learn) return;
      if constexpr (Learns<State, Model>) state.learn(model, seen);
      if constexpr (SeesUpdates<State, Model>) state.after_step(model, seen);
      if constexpr (HasNamedTensors<State>) {
        for (const auto& [name, tensor] : state.named_tensors()) {
          if (!elsewhere.contains(name)) done.learned.emplace_back(name, tensor.detach().clone());
        }
      }
    });
    return done;
  }

  Transport transport() override {
    const torch::NoGradGuard no_grad;
    const scope::RestoredGenerators generators(TrainerAccess::generators(own_));
    Transport transport;
    each_source({}, [&]<class State>(State& state, const Trace&) {
      if constexpr (HasTransport<State, Model>) transport = {own_.model()->parameters(), state.transport(own_.model())};
    });
    return transport;
  }

  torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor& y) const override {
    return objective_.loss(logits, y).mean();
  }

  std::vector<torch::Tensor> true_gradients(const Batch& batch) override {
    const auto trace = trace_of(own_.model(), batch.x, batch.y, objective_);
    std::vector<torch::Tensor> gradients(trace.hidden.size());
    gradients.back() = trace.loss_gradient();
    for (std::size_t l = gradients.size() - 1; l-- > 0;) {
      gradients[l] = trace.pullback(static_cast<std::int64_t>(l), gradients[l + 1]);
    }
    return gradients;
  }

  std::vector<torch::Tensor> factored_credit(const Batch& batch, bool only_error) override {
    const auto trace = trace_of(own_.model(), batch.x, batch.y, objective_);
    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> credits;
    each_source(trace, [&]<class State>(State& state, const Trace& seen) {
      if constexpr (GivesFactors<State, Model>) {
        for (const auto& a : state.factored_credit(own_.model(), only_error ? error_alone(seen) : seen)) {
          credits.push_back(a.left.defined() ? a.dense() : torch::Tensor());
        }
      }
    });
    return credits;
  }

  static constexpr bool learns() {
    return []<class... States>(const std::tuple<States&...>*) {
      return (Learns<States, Model> || ...);
    }(static_cast<States*>(nullptr));
  }
  static constexpr bool couples_samples() {
    return []<class... States>(const std::tuple<States&...>*) {
      return (CouplesSamples<States> || ...);
    }(static_cast<States*>(nullptr));
  }

 private:
  /// Other numbers in the Trace for what `others` names.
  static void replace(Trace& trace, Reads others) {
    const auto other = [generator = statistics::seeded(17, 0)](torch::Tensor& tensor) {
      if (tensor.defined() && tensor.is_floating_point())
        tensor = torch::empty_like(tensor, torch::kCPU).normal_(0, 1, generator).to(tensor.device());
    };
    if (any_of(others, Reads::Error)) {
      other(trace.error);
      other(trace.logits);
    }
    if (any_of(others, Reads::Target)) {
      if (trace.target.is_floating_point()) {
        other(trace.target);
      } else {
        const auto classes = trace.target.max() + 1;
        trace.target = (trace.target + 1).remainder(classes);
      }
    }
    if (!any_of(others, Reads::Hidden)) return;
    other(trace.input);
    for (auto& h : trace.hidden) other(h);
    for (auto& f : trace.branch) other(f);
  }

  /// Weights, which have two dimensions or more, of other size or, for Signs, other signs too.
  void replace_weights(Reads others) {
    const auto scale = [generator = statistics::seeded(18, 0)](const std::vector<torch::Tensor>& parameters,
                                                               double from) {
      for (const auto& parameter : parameters) {
        if (parameter.dim() < 2) continue;
        const auto factor = torch::empty_like(parameter, torch::kCPU).uniform_(from, 2, generator);
        parameter.variable_data().mul_(factor.to(parameter.device()));
      }
    };
    auto& model = own_.model();
    if (any_of(others, Reads::Readout)) scale(model->readout_parameters(), 0.5);
    if (!any_of(others, Reads::Weights | Reads::Signs)) return;
    for (std::int64_t l = 0; l < model->blocks(); ++l)
      scale(model->block_parameters(l), any_of(others, Reads::Signs) ? -2 : 0.5);
  }

  using States = decltype(Traits::states(std::declval<typename Traits::State&>()));

  /// Calls action(state, the trace as this source may see it) for each source.
  template <class Action>
  void each_source(const Trace& trace, const Action& action) {
    std::size_t i = 0;
    const auto call = [&](auto& state) {
      auto rights = Traits::rights()[i++];
      rights.pullback |=
          std::exchange(rights.transported, false);  // through the weights: nothing was put in their place
      action(state, TraceAccess::restricted(trace, rights));
    };
    std::apply([&](auto&... states) { (call(states), ...); }, Traits::states(own_.state()));
  }

  Own& own_;  ///< what trainer_ holds
  Objective objective_;
};

}  // namespace creditlib::detail::laws
