#pragma once

#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/optim/adamw.hpp>
#include <creditlib/schedule/blend.hpp>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "models.hpp"
#include "test.hpp"

/// The rules that the laws are about, and trainers of them behind one type, so that a law is written once and compiled
/// once.
namespace creditlib::test {

/// Features of a hidden state without the batch: d of (d) and (N, d), C of (C, H, W).
inline std::int64_t features(const std::vector<std::int64_t>& shape) { return shape.size() == 2 ? shape[1] : shape[0]; }

/// (B, features) as one value a feature of a hidden state.
inline torch::Tensor one_a_feature(const torch::Tensor& a, const std::vector<std::int64_t>& shape) {
  if (shape.size() == 3) return a.view({a.size(0), a.size(1), 1, 1});
  if (shape.size() == 2) return a.view({a.size(0), 1, a.size(1)});
  return a;
}

/// A rule of a user's own, without state in its config: credit from the label alone.
struct TargetProjection {
  struct State {
    std::vector<torch::Tensor> feedback;

    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
      std::vector<torch::Tensor> a;
      for (std::size_t l = 0; l < feedback.size(); ++l) {
        a.push_back(one_a_feature(-feedback[l].index_select(1, trace.target).t().contiguous(),
                                  model->hidden_shape(static_cast<std::int64_t>(l))));
      }
      return a;
    }

    std::vector<std::pair<std::string, torch::Tensor>> named_tensors() const {
      std::vector<std::pair<std::string, torch::Tensor>> named;
      for (std::size_t l = 0; l < feedback.size(); ++l)
        named.emplace_back("feedback." + std::to_string(l), feedback[l]);
      return named;
    }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    State state;
    for (std::int64_t l = 0; l <= model->blocks(); ++l) {
      state.feedback.push_back(context.randn({features(model->hidden_shape(l)), model->classes()}));
    }
    return state;
  }
};

/// A rule that draws at every call, from the trainer's generator.
struct NoisyProjection {
  struct State {
    TargetProjection::State base;
    BindContext context;

    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const Trace& trace) {
      auto credits = base.credit(model, trace);
      for (auto& a : credits) {
        auto one_sample = a.sizes().vec();
        one_sample[0] = 1;
        a = a + context.randn(one_sample);
      }
      return credits;
    }
    NamedTensors named_tensors() const { return base.named_tensors(); }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {TargetProjection{}.bind(model, context), context};
  }
};

/// A rule that learns, with the library's optimiser and counters: one matrix a hidden state, fitted to the gradient at
/// h_L.
struct LearnedProjection {
  struct State {
    std::vector<torch::Tensor> feedback;
    torch::Tensor learned, updates;
    optim::AdamW optimizer;

    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
      std::vector<torch::Tensor> a;
      for (std::size_t l = 0; l < feedback.size(); ++l) {
        a.push_back(one_a_feature(trace.error.mm(feedback[l].t()), model->hidden_shape(static_cast<std::int64_t>(l))));
      }
      return a;
    }

    template <class Model>
    void learn(Model&, const Trace& trace) {
      const auto wanted = trace.loss_gradient().flatten(1).sum(1);
      torch::Tensor loss = torch::zeros({}, wanted.options());
      for (auto& matrix : feedback) loss = loss + (trace.error.mm(matrix.t()).sum(1) - wanted).square().mean();
      const auto gradients = torch::autograd::grad({loss}, feedback);
      for (std::size_t l = 0; l < feedback.size(); ++l) feedback[l].mutable_grad() = gradients[l];
      optimizer.step();
      learned.add_(1);
    }

    template <class Model>
    void after_step(Model&, const Trace&) {
      updates.add_(1);
    }

    NamedTensors named_tensors() const {
      auto named = numbered("feedback", feedback);
      named.emplace_back("learned", learned);
      named.emplace_back("updates", updates);
      for (auto& entry : prefixed("optimizer", optimizer.named_tensors())) named.push_back(entry);
      return named;
    }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    std::vector<torch::Tensor> feedback;
    for (std::int64_t l = 0; l <= model->blocks(); ++l) {
      feedback.push_back(context.randn({features(model->hidden_shape(l)), model->classes()}).requires_grad_());
    }
    return {feedback, torch::zeros({}, torch::kInt64), torch::zeros({}, torch::kInt64),
            optim::AdamW(feedback, {.lr = 0.1})};
  }
};

/// A rule of the library with an option that is not its default.
struct OracleAtBlockInput {
  template <class Model>
  Oracle bind(Model&, const BindContext&) const {
    return {.at = CreditPoint::BlockInput};
  }
};
struct DFAByElement {
  template <class Model>
  DFA::State bind(Model& model, const BindContext& context) const {
    return DFA{.by_element = true}.bind(model, context);
  }
};

/// All rules that the laws are about. A new rule joins by one line here; a Mix runs under the schedule of ScheduleOf.
using Rules = std::tuple<  //
    DFA,                   //
    DFAByElement,          //
    FA,                    //
    Oracle,                //
    OracleAtBlockInput,    //
    TargetProjection,      //
    NoisyProjection,       //
    LearnedProjection,     //
    Mix<DFA, FA>,          //
    Mix<LearnedProjection, Oracle>>;

/// Whether a rule has random numbers of its own.
template <class Rule>
inline constexpr bool draws = !std::is_same_v<Rule, Oracle> && !std::is_same_v<Rule, OracleAtBlockInput>;

/// Whether a rule can train a model: an estimate made at a block's input fits its output where both have one shape.
template <class Rule>
bool applies(Kind kind) {
  return !std::is_same_v<Rule, OracleAtBlockInput> || kind == Kind::residual_mlp || kind == Kind::dropout ||
         kind == Kind::tokens;
}

template <class Rule>
struct ScheduleOf {
  using type = Always;
};
template <class First, class Second>
struct ScheduleOf<Mix<First, Second>> {
  using type = Blend;
};

/// A trainer, whatever its model and rule.
class AnyTrainer {
 public:
  virtual ~AnyTrainer() = default;
  virtual StepResult step(const Batch& batch) = 0;
  virtual std::vector<torch::Tensor> credits(const Batch& batch) = 0;
  virtual std::vector<torch::Tensor> raw_credits(const Batch& batch) = 0;
  virtual std::vector<torch::Tensor> gradients(const Batch& batch) = 0;
  virtual void learn(const Batch& batch) = 0;
  virtual void end_epoch() = 0;
  virtual void save(const std::filesystem::path& path) const = 0;
  virtual void load(const std::filesystem::path& path) = 0;
  virtual torch::nn::Module& module() = 0;
  /// h_0, f_0..f_{L-1}, logits, each on a graph of its own, of a pass that the test runs itself.
  virtual std::vector<torch::Tensor> separate_outputs(const torch::Tensor& x) = 0;
};

template <class Model, class Rule, class Normalizer = RowRms>
class TrainerOf final : public AnyTrainer {
 public:
  TrainerOf(const Model& model, const Rule& rule, const TrainerOptions& options) : trainer_(model, rule, options) {}

  StepResult step(const Batch& batch) override { return trainer_.step(batch.x, batch.y); }
  std::vector<torch::Tensor> credits(const Batch& batch) override { return trainer_.credits(batch.x, batch.y); }
  std::vector<torch::Tensor> raw_credits(const Batch& batch) override { return trainer_.raw_credits(batch.x, batch.y); }
  std::vector<torch::Tensor> gradients(const Batch& batch) override { return trainer_.gradients(batch.x, batch.y); }
  void learn(const Batch& batch) override { trainer_.learn(batch.x, batch.y); }
  void end_epoch() override { trainer_.end_epoch(); }
  void save(const std::filesystem::path& path) const override { trainer_.save(path); }
  void load(const std::filesystem::path& path) override { trainer_.load(path); }
  torch::nn::Module& module() override { return *trainer_.model(); }
  std::vector<torch::Tensor> separate_outputs(const torch::Tensor& x) override {
    auto& model = trainer_.model();
    std::vector<torch::Tensor> outputs{model->embed(x)};
    auto h = outputs[0].detach();
    for (std::int64_t l = 0; l < model->blocks(); ++l) {
      outputs.push_back(model->block(l, h));
      h = model->join(l, h, outputs.back()).detach();
    }
    outputs.push_back(model->readout(h));
    return outputs;
  }

 private:
  LocalTrainer<Model, Rule, typename ScheduleOf<Rule>::type, Normalizer> trainer_;
};

/// What a trainer is made for.
struct Setting {
  Kind kind = Kind::residual_mlp;
  torch::Dtype dtype = torch::kFloat32;
  TrainerOptions options = {.seed = 7};
  std::uint64_t weights_seed = 1;
  std::uint64_t global_seed = 2;  ///< torch's global generator, when the trainer is made
};

using Factory = std::function<std::unique_ptr<AnyTrainer>(const Setting&)>;

/// Makes trainers of a rule, on a fresh model each.
template <class Rule>
Factory factory(const Rule& rule = {}) {
  return [rule](const Setting& setting) -> std::unique_ptr<AnyTrainer> {
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
  return [rule](const Setting& setting) -> std::unique_ptr<AnyTrainer> {
    auto model = stages(setting.kind, setting.dtype, setting.weights_seed);
    torch::manual_seed(setting.global_seed);
    return std::make_unique<TrainerOf<SequentialBlocks, Rule>>(model, rule, setting.options);
  };
}

}  // namespace creditlib::test
