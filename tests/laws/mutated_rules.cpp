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

/// Has another answer every other time, and keeps it from the checkpoint.
struct Alternates {
  mutable int calls = 0;
  Credits apply(Credits credits, auto&, const Trace&, const torch::Tensor&) const {
    if (++calls % 2 == 0) {
      for (auto& a : credits) a = -a;
    }
    return credits;
  }
};

/// Has another answer the second time, which in the law is where it is asked what it would use.
struct ShowsOthers {
  mutable int calls = 0;
  Credits apply(Credits credits, auto&, const Trace&, const torch::Tensor&) const {
    if (++calls == 2) {
      for (auto& a : credits) a = -a;
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

/// Trains at the states times a factor that the fault chooses by how often it was asked.
template <class Fault>
struct TrainsElsewhere {
  struct State : TargetProjection::State {
    int asked = 0;

    template <class Model>
    std::vector<torch::Tensor> local_inputs(Model&, const Trace& trace) {
      const double factor = Fault::factor(++asked);
      std::vector<torch::Tensor> states;
      for (const auto& h : trace.hidden) states.push_back(factor * h);
      return states;
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {TargetProjection{}.bind(model, context)};
  }
};

/// Has other states every time.
struct Wanders {
  static double factor(int asked) { return 1 + asked; }
};

/// Says other states than it trains at: in the law the third time is the law's own.
struct SaysOthers {
  static double factor(int asked) { return asked == 3 ? 3 : 2; }
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
std::string verdict(std::string (*law)(const Factory&, Kind), Kind kind = Kind::plain) {
  REQUIRE(law(stages_factory<TargetProjection>(), kind) == "");
  return law(stages_factory<Rule>(), kind);
}

}  // namespace

TEST_CASE("the law of seeds fails on a rule that draws from torch's global generator", "[credit][law]") {
  CHECK(verdict<DrawsGlobally>(law::same_seed_same_credits) == "two trainers of one seed have different credits");
  CHECK(verdict<DrawsGlobally>(law::binding_leaves_global_generator) == "bind uses torch's global generator");
}

TEST_CASE("the law of other seeds fails on a rule that seeds itself", "[credit][law]") {
  CHECK(verdict<SeedsItself>(law::other_seed_other_credits) == "another seed changes no credit");
}

TEST_CASE("the law of dtypes fails on a rule that draws in the model's", "[credit][law]") {
  CHECK(verdict<DrawsInModelDtype>(law::same_feedback_in_float64) == "credit.feedback.0 is another in float64");
  CHECK(verdict<Faulty<DrawsAtCallInModelDtype>>(law::same_feedback_in_float64) == "credits in float64 are others");
}

TEST_CASE("the law of previews fails on a rule that changes something when it is asked", "[credit][law]") {
  CHECK(verdict<Faulty<Counts>>(law::previews_change_nothing) == "credit.counter differs");
  CHECK(verdict<Faulty<Alternates>>(law::previews_change_nothing) == "a second call gives another answer");
  CHECK(verdict<Faulty<Forgets>>(law::previews_change_nothing) == "a second call gives another answer");
  CHECK(verdict<Faulty<ChangesWeights>>(law::previews_change_nothing) == "model.blocks.0.0.bias differs");
  CHECK(verdict<Faulty<LeavesGradients>>(law::previews_change_nothing) != "");
}

TEST_CASE("the law of what a step uses fails on a rule with another answer every time, or when it is asked",
          "[credit][law]") {
  const std::string others_in_a_step = "gradients() shows others than the step has";
  const auto from_those_of_the_credits = [](const std::string& said) {
    return said.find("from those of the credits") != std::string::npos;
  };

  CHECK(verdict<Faulty<Alternates>>(law::credits_are_what_step_uses) == others_in_a_step);
  CHECK(from_those_of_the_credits(verdict<Faulty<ShowsOthers>>(law::credits_are_what_step_uses)));
  CHECK(verdict<TrainsElsewhere<Wanders>>(law::credits_are_what_step_uses) == others_in_a_step);
  CHECK(from_those_of_the_credits(verdict<TrainsElsewhere<SaysOthers>>(law::credits_are_what_step_uses)));
}

TEST_CASE("the law of one forward pass fails on a rule that runs the network again, or draws", "[credit][law]") {
  CHECK(verdict<Faulty<RunsAgain>>(law::step_runs_one_forward, Kind::batch_norm) ==
        "running statistics are not those of one forward pass");
  CHECK(verdict<Faulty<RunsAgain>>(law::step_runs_one_forward, Kind::dropout) ==
        "torch's generator is not where one forward pass leaves it");
  CHECK(verdict<Faulty<DrawsAtCall>>(law::step_runs_one_forward) ==
        "torch's generator is not where one forward pass leaves it");
}

TEST_CASE("the law of two paths fails on a rule whose factors are not its credit", "[credit][law]") {
  const auto law = [](const Factory& make, Kind kind) { return law::paths_agree(make, kind, torch::kFloat64, 1e-11); };

  CHECK(verdict<NegatedFactors>(law) == "gradients() differ");
}

TEST_CASE("the law of samples fails on a rule that divides by the batch, or looks across it", "[credit][law]") {
  CHECK(verdict<Faulty<OfTheMean>>(law::credit_is_per_sample) == "credit 0 depends on the rest of the batch");
  CHECK(verdict<Faulty<CentersTheBatch>>(law::credit_is_per_sample) == "credit 0 depends on the rest of the batch");
}

TEST_CASE("the law of learning fails on a rule that learns into the network", "[credit][law]") {
  CHECK(verdict<LearnsIntoTheModel>(law::learning_leaves_the_model).find("grad.readout") == 0);
}

TEST_CASE("the law of resumed runs fails on a rule that keeps state from the checkpoint", "[credit][law]") {
  const auto law = [](const Factory& make, Kind kind) { return law::resumed_run_is_the_same(make, kind); };

  CHECK(verdict<Faulty<Forgets>>(law).find("differs") != std::string::npos);
}

TEST_CASE("credit that a rule leaves on a graph comes out detached", "[credit][law]") {
  CHECK(verdict<Faulty<Attached>>(law::credits_fit) == "");
  CHECK(verdict<Faulty<Attached>>(law::credits_are_what_step_uses) == "");
}

TEST_CASE("two models of one seed are the same, and of another are not", "[law]") {
  const auto one = stages(Kind::plain)->parameters(), again = stages(Kind::plain)->parameters();
  const auto other = stages(Kind::plain, torch::kFloat32, 2)->parameters();

  CHECK(same(one, again));
  CHECK_FALSE(same(one, other));
}
