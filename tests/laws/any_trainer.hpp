// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/any_trainer.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/schedule/blend.hpp>
#include <creditlib/scope/untouched.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"
#include "../trace_of.hpp"

/// Trainers of any model and rule behind one type, so that a law is written once and compiled once.
namespace creditlib::test {

/// What a law trains a rule under: a Mix needs a schedule of two.
template <class Rule>
struct ScheduleOf {
  using type = Always;
};
template <class First, class Second>
struct ScheduleOf<Mix<First, Second>> {
  using type = Blend;
};

/// The states at which a rule has the local step run; none where they are those of the forward pass.
template <class Model, class State>
std::optional<std::vector<torch::Tensor>> local_inputs(Model& model, State& state, const Trace& trace) {
  if constexpr (detail::HasLocalInputs<State, Model>) {
    return state.local_inputs(model, trace);
  } else if constexpr (requires {
                         state.first.credit(model, trace);
                         state.second.credit(model, trace);
                       }) {  // a Mix's
    const auto inputs = local_inputs(model, state.first, trace);
    return inputs ? inputs : local_inputs(model, state.second, trace);
  } else {
    return std::nullopt;
  }
}

/// The credits of a state; of a Mix those of both sources.
template <class Model, class State>
std::vector<torch::Tensor> credit_of(Model& model, State& state, const Trace& trace) {
  if constexpr (requires { state.credit(model, trace); }) {
    return state.credit(model, trace);
  } else {
    auto credits = credit_of(model, state.first, trace);
    for (auto& a : credit_of(model, state.second, trace)) credits.push_back(a);
    return credits;
  }
}

/// Whether a state learns; a Mix does if one of its sources does.
template <class Model, class State>
constexpr bool learner() {
  if constexpr (requires(State& state) {
                  state.first;
                  state.second;
                }) {
    return learner<Model, decltype(State::first)>() || learner<Model, decltype(State::second)>();
  } else {
    return detail::Learns<State, Model>;
  }
}
template <class Model, class State>
void learn_from(Model& model, State& state, const Trace& trace) {
  if constexpr (detail::Learns<State, Model>) {
    state.learn(model, trace);
  } else if constexpr (learner<Model, State>()) {
    learn_from(model, state.first, trace);
    learn_from(model, state.second, trace);
  }
}

/// A rule's own functions on one finished pass, without the trainer's care around them.
struct Alone {
  std::function<std::vector<torch::Tensor>()> credit;
  std::function<void()> learn;  ///< empty if the rule does not learn
};

/// creditlib::AnyTrainer on a test's batches, with what the laws alone ask of a trainer.
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
  /// h_0, f_0..f_{L-1}, logits, each on a graph of its own, of a pass that the test runs itself.
  virtual std::vector<torch::Tensor> separate_outputs(const torch::Tensor& x) = 0;
  /// The same as the local step has them: if the rule has local_inputs, blocks and readout are run at those.
  virtual std::vector<torch::Tensor> local_outputs(const Batch& batch) = 0;

 protected:
  explicit LawTrainer(creditlib::AnyTrainer trainer) : trainer_(std::move(trainer)) {}

  creditlib::AnyTrainer trainer_;
};

template <class Model, class Rule, class Normalizer = RowRms>
class TrainerOf final : public LawTrainer {
  using Own = LocalTrainer<Model, Rule, typename ScheduleOf<Rule>::type, Normalizer>;

 public:
  TrainerOf(const Model& model, const Rule& rule, const TrainerOptions& options)
      : LawTrainer(Own(model, rule, options)), own_(*trainer_.target<Own>()) {}

  Alone alone(const Batch& batch) override {
    const auto trace = [&] {
      const scope::Untouched untouched(*own_.model(), torch::kCPU);
      return trace_of(own_.model(), batch, CrossEntropy{}, /*pullbacks=*/true);
    }();
    Alone alone;
    alone.credit = [this, trace] { return credit_of(own_.model(), own_.state(), trace); };
    if constexpr (learner<Model, std::remove_cvref_t<decltype(own_.state())>>()) {
      alone.learn = [this, trace] { learn_from(own_.model(), own_.state(), trace); };
    }
    return alone;
  }
  std::vector<torch::Tensor> separate_outputs(const torch::Tensor& x) override {
    auto& model = own_.model();
    std::vector<torch::Tensor> outputs{model->embed(x)};
    auto h = outputs[0].detach();
    for (std::int64_t l = 0; l < model->blocks(); ++l) {
      outputs.push_back(model->block(l, h));
      h = model->join(l, h, outputs.back()).detach();
    }
    outputs.push_back(model->readout(h));
    return outputs;
  }
  std::vector<torch::Tensor> local_outputs(const Batch& batch) override {
    auto& model = own_.model();
    const auto trace = [&] {
      const scope::Untouched untouched(*model, torch::kCPU);
      return trace_of(model, batch);
    }();
    auto outputs = separate_outputs(batch.x);
    const auto states = [&] {
      const torch::AutoGradMode as_in_a_script(true);  // a rule must not depend on it
      return local_inputs(model, own_.state(), trace);
    }();
    if (states) {
      for (std::int64_t l = 0; l < model->blocks(); ++l) {
        const auto at = static_cast<std::size_t>(l);
        outputs[at + 1] = model->block(l, states->at(at).detach());
      }
      outputs.back() = model->readout(states->back().detach());
    }
    return outputs;
  }

 private:
  Own& own_;  ///< what trainer_ holds
};

/// What a trainer is made for.
struct Setting {
  Kind kind = Kind::residual_mlp;
  torch::Dtype dtype = torch::kFloat32;
  TrainerOptions options = {.seed = 7};
  std::uint64_t weights_seed = 1;
  std::uint64_t global_seed = 2;  ///< torch's global generator, when the trainer is made
};

using Factory = std::function<std::unique_ptr<LawTrainer>(const Setting&)>;

/// Makes trainers of a rule, on a fresh model each.
template <class Rule>
Factory factory(const Rule& rule = {}) {
  return [rule](const Setting& setting) -> std::unique_ptr<LawTrainer> {
    if (setting.kind == Kind::residual_mlp) {
      auto model = residual_mlp(setting.dtype, setting.weights_seed);
      torch::manual_seed(setting.global_seed);
      return std::make_unique<TrainerOf<ResidualMLP, Rule>>(model, rule, setting.options);
    }
    auto model = stages(setting.kind, setting.dtype, setting.weights_seed);
    torch::manual_seed(setting.global_seed);
    return std::make_unique<TrainerOf<SequentialBlocks, Rule>>(model, rule, setting.options);
  };
}

/// The same for models of SequentialBlocks alone.
template <class Rule>
Factory stages_factory(const Rule& rule = {}) {
  return [rule](const Setting& setting) -> std::unique_ptr<LawTrainer> {
    auto model = stages(setting.kind, setting.dtype, setting.weights_seed);
    torch::manual_seed(setting.global_seed);
    return std::make_unique<TrainerOf<SequentialBlocks, Rule>>(model, rule, setting.options);
  };
}

}  // namespace creditlib::test
