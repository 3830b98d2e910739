// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>

#include "../rules.hpp"
#include "../test.hpp"
#include "any_trainer.hpp"
#include "laws.hpp"

using namespace creditlib;
using namespace creditlib::test;

// Each law is asked of a rule that breaks it, and must say so; that rule is TargetProjection with one fault.
namespace {

/// Draws from torch's global generator.
struct DrawsGlobally {
  template <class Model>
  TargetProjection::State bind(Model& model, const BindContext& context) const {
    auto state = TargetProjection{}.bind(model, context);
    for (auto& matrix : state.feedback) matrix = torch::randn_like(matrix);
    return state;
  }
};

/// Seeds a generator of its own, so that the trainer's seed changes nothing.
struct SeedsItself {
  template <class Model>
  TargetProjection::State bind(Model& model, const BindContext& context) const {
    auto own = context;
    own.generator = torch::make_generator<at::CPUGeneratorImpl>(5);
    return TargetProjection{}.bind(model, own);
  }
};

/// Draws in the model's own dtype.
struct DrawsInModelDtype {
  template <class Model>
  TargetProjection::State bind(Model& model, const BindContext& context) const {
    auto state = TargetProjection{}.bind(model, context);
    for (auto& matrix : state.feedback) matrix = at::randn(matrix.sizes(), context.generator, matrix.options());
    return state;
  }
};

/// DFA that gives its factors with another sign.
struct NegatedFactors {
  struct State : DFA::State {
    template <class Model>
    std::vector<FactoredCredit> factored_credit(Model& model, const Trace& trace) const {
      auto factors = DFA::State::factored_credit(model, trace);
      for (auto& a : factors) a.left = -a.left;
      return factors;
    }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {DFA{}.bind(model, context)};
  }
};

/// What the faults below have in common: a state that can do more than project the target.
template <class Fault>
struct Faulty {
  struct State : Fault {
    TargetProjection::State base;
    torch::Tensor counter;

    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
      return Fault::apply(base.credit(model, trace), model, trace, counter);
    }
    NamedTensors named_tensors() const {
      auto named = base.named_tensors();
      if constexpr (!requires { Fault::forgets; }) named.emplace_back("counter", counter);
      return named;
    }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {{}, TargetProjection{}.bind(model, context), torch::zeros({}, torch::kInt64)};
  }
};

using Credits = std::vector<torch::Tensor>;

/// Counts its calls.
struct Counts {
  static Credits apply(Credits credits, auto&, const Trace&, const torch::Tensor& counter) {
    counter.add_(1);
    return credits;
  }
};

/// Subtracts a running mean of its credit, which it keeps from the checkpoint: another answer at every call.
struct RunningMean {
  mutable Credits mean;
  Credits apply(Credits credits, auto&, const Trace&, const torch::Tensor&) const {
    mean.resize(credits.size());
    for (std::size_t l = 0; l < credits.size(); ++l) {
      const auto now = credits[l].mean(0, /*keepdim=*/true);
      mean[l] = mean[l].defined() ? 0.9 * mean[l] + 0.1 * now : now;
      credits[l] = credits[l] - mean[l];
    }
    return credits;
  }
};

/// Keeps its answer for all batches of one size: after a preview a step gets what is out of date.
struct AnswersFromMemory {
  mutable Credits first;
  Credits apply(Credits credits, auto&, const Trace&, const torch::Tensor&) const {
    if (first.empty() || first[0].size(0) != credits[0].size(0)) first = credits;
    return first;
  }
};

/// Scales by the slope of something that only grad mode records.
struct NeedsGradMode {
  static Credits apply(Credits credits, auto& model, const Trace& trace, const torch::Tensor&) {
    const bool recorded = model->readout(trace.hidden.back()).requires_grad();
    for (auto& a : credits) a = recorded ? 2 * a : a;
    return credits;
  }
};

/// Computes in the storage of the hidden states, to save memory.
struct OverwritesHidden {
  static Credits apply(Credits credits, auto&, const Trace& trace, const torch::Tensor&) {
    for (std::size_t l = 0; l < credits.size(); ++l) {
      auto h = trace.hidden[l];
      credits[l] = h.copy_(credits[l]).clone();
    }
    return credits;
  }
};

/// Draws at a call from torch's global generator.
struct DrawsAtCall {
  static Credits apply(Credits credits, auto&, const Trace&, const torch::Tensor&) {
    for (auto& a : credits) a = a + torch::randn_like(a);
    return credits;
  }
};

/// Draws at a call in the model's own dtype.
struct DrawsAtCallInModelDtype {
  static Credits apply(Credits credits, auto&, const Trace&, const torch::Tensor&) {
    const auto own = torch::make_generator<at::CPUGeneratorImpl>(5);
    for (auto& a : credits) a = a + at::randn(a.sizes(), own, a.options());
    return credits;
  }
};

/// Runs the network a second time, and with it BatchNorm's statistics and Dropout's masks.
struct RunsAgain {
  static Credits apply(Credits credits, auto& model, const Trace& trace, const torch::Tensor&) {
    model->forward(trace.input);
    return credits;
  }
};

/// Changes the network.
struct ChangesWeights {
  static Credits apply(Credits credits, auto& model, const Trace&, const torch::Tensor&) {
    for (const auto& parameter : model->block_parameters(0)) parameter.mul_(1.01);
    return credits;
  }
};

/// Leaves gradients in the parameters.
struct LeavesGradients {
  static Credits apply(Credits credits, auto& model, const Trace& trace, const torch::Tensor&) {
    const torch::AutoGradMode grad(true);
    model->readout(trace.hidden.back()).sum().backward();
    return credits;
  }
};

/// Divides by the batch, as the gradient of a mean loss is.
struct OfTheMean {
  static Credits apply(Credits credits, auto&, const Trace& trace, const torch::Tensor&) {
    for (auto& a : credits) a = a / trace.target.size(0);
    return credits;
  }
};

/// Depends on the other samples.
struct CentersTheBatch {
  static Credits apply(Credits credits, auto&, const Trace&, const torch::Tensor&) {
    for (auto& a : credits) a = a - a.mean(0, true);
    return credits;
  }
};

/// A checkpoint that has not all of the state: the call count that the sign comes from.
struct Forgets {
  static constexpr bool forgets = true;
  static Credits apply(Credits credits, auto&, const Trace&, const torch::Tensor& counter) {
    for (auto& a : credits) a = a + counter;
    counter.add_(1);
    return credits;
  }
};

/// Learns into the network.
struct LearnsIntoTheModel {
  struct State : TargetProjection::State {
    template <class Model>
    void learn(Model& model, const Trace& trace) {
      model->readout(trace.hidden.back()).sum().backward();
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {TargetProjection{}.bind(model, context)};
  }
};

/// Draws from torch's global generator when it learns.
struct DrawsAsItLearns {
  struct State : TargetProjection::State {
    template <class Model>
    void learn(Model&, const Trace&) {
      for (auto& matrix : feedback) matrix.add_(torch::randn_like(matrix), 0.01);
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {TargetProjection{}.bind(model, context)};
  }
};

/// Has a learn that changes nothing.
struct LearnsNothing {
  struct State : TargetProjection::State {
    template <class Model>
    void learn(Model&, const Trace&) {}
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {TargetProjection{}.bind(model, context)};
  }
};

/// Trains at other states, which the fault chooses.
template <class Fault>
struct TrainsElsewhere {
  struct State : TargetProjection::State {
    Fault fault;

    template <class Model>
    std::vector<torch::Tensor> local_inputs(Model& model, const Trace& trace) {
      return fault.states(model, trace);
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {TargetProjection{}.bind(model, context), {}};
  }
};

/// Anneals how far they are away by how often it was asked, as if that were once per step.
struct AnnealsByCalls {
  int asked = 0;
  std::vector<torch::Tensor> states(auto&, const Trace& trace) {
    const double factor = 1 + 1.0 / ++asked;
    std::vector<torch::Tensor> states;
    for (const auto& h : trace.hidden) states.push_back(factor * h);
    return states;
  }
};

/// Nudges the last state down the gradient of the logits' squares, which there is only in grad mode.
struct NudgesInGradMode {
  static std::vector<torch::Tensor> states(auto& model, const Trace& trace) {
    auto states = trace.hidden;
    const auto h = states.back().clone().requires_grad_();
    const auto loss = model->readout(h).square().sum();
    if (loss.requires_grad()) states.back() = (h - 0.1 * torch::autograd::grad({loss}, {h})[0]).detach();
    return states;
  }
};

/// Gives credit that is still on a graph, which a trainer cuts off: no fault, by law.
struct Attached {
  static Credits apply(Credits credits, auto& model, const Trace&, const torch::Tensor&) {
    const torch::AutoGradMode grad(true);
    for (auto& a : credits) a = a + 0 * model->block_parameters(0)[0].sum();
    return credits;
  }
};

template <class Rule>
Verdict verdict(Verdict (*law)(const Factory&, Kind), Kind kind = Kind::plain) {
  REQUIRE(law(stages_factory<TargetProjection>(), kind) == held());
  return law(stages_factory<Rule>(), kind);
}

}  // namespace

TEST_CASE("the law of seeds fails on a rule that draws from torch's global generator", "[credit][law]") {
  CHECK(verdict<DrawsGlobally>(law::same_seed_same_credits) ==
        failed("two trainers of one seed have different credits"));
  CHECK(verdict<DrawsGlobally>(law::binding_leaves_global_generator) == failed("bind uses torch's global generator"));
}

TEST_CASE("the law of other seeds fails on a rule that seeds itself", "[credit][law]") {
  CHECK(verdict<SeedsItself>(law::other_seed_other_credits) == failed("another seed changes no credit"));
}

TEST_CASE("the law of dtypes fails on a rule that draws in the model's", "[credit][law]") {
  CHECK(verdict<DrawsInModelDtype>(law::same_state_in_float64) == failed("credit.feedback.0 is another in float64"));
  CHECK(verdict<Faulty<DrawsAtCallInModelDtype>>(law::same_draws_in_float64) ==
        failed("credits in float64 are others"));
}

TEST_CASE("the law of previews fails on a rule that changes something when it is asked", "[credit][law]") {
  CHECK(verdict<Faulty<Counts>>(law::previews_change_nothing) == failed("credit.counter differs"));
  CHECK(verdict<Faulty<RunningMean>>(law::previews_change_nothing) == failed("a second call gives another answer"));
  CHECK(verdict<Faulty<Forgets>>(law::previews_change_nothing) == failed("a second call gives another answer"));
  CHECK(verdict<Faulty<ChangesWeights>>(law::previews_change_nothing) == failed("model.blocks.0.0.bias differs"));
  CHECK(verdict<Faulty<LeavesGradients>>(law::previews_change_nothing).outcome == Verdict::Failed);
}

TEST_CASE("the law of previews fails on a rule that answers from memory", "[credit][law]") {
  CHECK(verdict<Faulty<AnswersFromMemory>>(law::previews_change_nothing).outcome == Verdict::Failed);
}

TEST_CASE(
    "the law of what a step uses fails on a rule that depends on its calls, on grad mode, or on storage of others",
    "[credit][law]") {
  const auto others_in_a_step = failed("gradients() shows others than the step has");
  const auto from_those_of_the_credits = [](const Verdict& said) {
    UNSCOPED_INFO(said);
    return said.outcome == Verdict::Failed && said.what.find("from those of the credits") != std::string::npos;
  };

  CHECK(verdict<Faulty<RunningMean>>(law::credits_are_what_step_uses) == others_in_a_step);
  CHECK(from_those_of_the_credits(verdict<Faulty<OverwritesHidden>>(law::credits_are_what_step_uses)));
  CHECK(verdict<TrainsElsewhere<AnnealsByCalls>>(law::credits_are_what_step_uses) == others_in_a_step);
  CHECK(from_those_of_the_credits(verdict<TrainsElsewhere<NudgesInGradMode>>(law::credits_are_what_step_uses)));
}

TEST_CASE("the law of grad mode fails on a rule that depends on it", "[credit][law]") {
  CHECK(verdict<Faulty<NeedsGradMode>>(law::grad_mode_changes_no_credit) ==
        failed("with grad mode on credit is another"));
}

TEST_CASE("the law of credit alone fails on a rule that counts, runs the network, changes it or draws",
          "[credit][law]") {
  const auto law = law::credit_alone_changes_nothing;

  CHECK(verdict<Faulty<Counts>>(law) == failed("credit.counter differs"));
  CHECK(verdict<Faulty<ChangesWeights>>(law) == failed("model.blocks.0.0.bias differs"));
  CHECK(verdict<Faulty<RunsAgain>>(law, Kind::batch_norm).outcome == Verdict::Failed);
  CHECK(verdict<Faulty<DrawsAtCall>>(law) == failed("global generator differs"));
}

TEST_CASE("the law of one forward pass fails on a rule that runs the network again, or draws", "[credit][law]") {
  CHECK(verdict<Faulty<RunsAgain>>(law::step_runs_one_forward, Kind::batch_norm) ==
        failed("running statistics are not those of one forward pass"));
  CHECK(verdict<Faulty<RunsAgain>>(law::step_runs_one_forward, Kind::dropout) ==
        failed("torch's generator is not where one forward pass leaves it"));
  CHECK(verdict<Faulty<DrawsAtCall>>(law::step_runs_one_forward) ==
        failed("torch's generator is not where one forward pass leaves it"));
}

TEST_CASE("the law of two paths fails on a rule whose factors are not its credit", "[credit][law]") {
  const auto law = [](const Factory& make, Kind kind) { return law::paths_agree(make, kind, torch::kFloat64, 1e-11); };

  CHECK(verdict<NegatedFactors>(law) == failed("gradients() differ"));
}

TEST_CASE("the law of samples fails on a rule that divides by the batch, or looks across it", "[credit][law]") {
  CHECK(verdict<Faulty<OfTheMean>>(law::credit_is_per_sample) == failed("credit 0 depends on the rest of the batch"));
  CHECK(verdict<Faulty<CentersTheBatch>>(law::credit_is_per_sample) ==
        failed("credit 0 depends on the rest of the batch"));
}

TEST_CASE("the law of learning fails on a rule that learns into the network, draws, or learns nothing",
          "[credit][law]") {
  const auto verdict = [](const Factory& make) {
    REQUIRE(law::learning_leaves_the_model(stages_factory<LearnedProjection>(), Kind::plain) == held());
    return law::learning_leaves_the_model(make, Kind::plain);
  };

  CHECK(verdict(stages_factory<LearnsIntoTheModel>()).what.find("grad.readout") == 0);
  CHECK(verdict(stages_factory<DrawsAsItLearns>()) == failed("global generator differs"));
  CHECK(verdict(stages_factory<LearnsNothing>()) == failed("learning changes nothing of the source"));
}

TEST_CASE("the law of resumed runs fails on a rule that keeps state from the checkpoint", "[credit][law]") {
  const auto law = [](const Factory& make, Kind kind) { return law::resumed_run_is_the_same(make, kind); };

  CHECK(verdict<Faulty<Forgets>>(law).what.find("differs") != std::string::npos);
}

TEST_CASE("credit that a rule leaves on a graph comes out detached", "[credit][law]") {
  CHECK(verdict<Faulty<Attached>>(law::credits_fit) == held());
  CHECK(verdict<Faulty<Attached>>(law::credits_are_what_step_uses) == held());
}

TEST_CASE("two models of one seed are the same, and of another are not", "[law]") {
  const auto one = stages(Kind::plain)->parameters(), again = stages(Kind::plain)->parameters();
  const auto other = stages(Kind::plain, torch::kFloat32, 2)->parameters();

  CHECK(same(one, again));
  CHECK_FALSE(same(one, other));
}
