// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>

#include "../rules.hpp"
#include "../test.hpp"
#include "mutated.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

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

/// Keeps its answer for all batches of one size: after a preview a step gets what is out of date.
struct AnswersFromMemory {
  mutable Credits first;
  Credits apply(Credits credits, auto&, const Trace&, const torch::Tensor&) const {
    if (first.empty() || first[0].size(0) != credits[0].size(0)) first = credits;
    return first;
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

/// Leaves gradients in the parameters.
struct LeavesGradients {
  static Credits apply(Credits credits, auto& model, const Trace& trace, const torch::Tensor&) {
    const torch::AutoGradMode grad(true);
    model->readout(trace.hidden.back()).sum().backward();
    return credits;
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

}  // namespace

TEST_CASE("the law of previews fails on a rule that changes something when it is asked", "[credit][law]") {
  const auto law = "previews change nothing";

  CHECK(verdict<Faulty<Counts>>(law) == failed("credit.counter differs"));
  CHECK(verdict<Faulty<RunningMean>>(law) == failed("a second call gives another answer"));
  CHECK(verdict<Faulty<Forgets>>(law) == failed("a second call gives another answer"));
  CHECK(verdict<Faulty<ChangesWeights>>(law) == failed("model.blocks.0.0.bias differs"));
  CHECK(verdict<Faulty<LeavesGradients>>(law).outcome == Verdict::Failed);
}

TEST_CASE("the law of previews fails on a rule that answers from memory", "[credit][law]") {
  CHECK(verdict<Faulty<AnswersFromMemory>>("previews change nothing").outcome == Verdict::Failed);
}

TEST_CASE(
    "the law of what a step uses fails on a rule that depends on its calls, on grad mode, or on storage of others",
    "[credit][law]") {
  const auto law = "credits() is what a step uses";
  const auto others_in_a_step = failed("gradients() shows others than the step has");
  const auto from_those_of_the_credits = [](const Verdict& said) {
    UNSCOPED_INFO(said);
    return said.outcome == Verdict::Failed && said.what.find("from those of the credits") != std::string::npos;
  };

  CHECK(verdict<Faulty<RunningMean>>(law) == others_in_a_step);
  CHECK(from_those_of_the_credits(verdict<Faulty<OverwritesHidden>>(law)));
  CHECK(verdict<TrainsElsewhere<AnnealsByCalls>>(law) == others_in_a_step);
  CHECK(from_those_of_the_credits(verdict<TrainsElsewhere<NudgesInGradMode>>(law)));
}

TEST_CASE("the law of one forward pass fails on a rule that runs the network again, or draws", "[credit][law]") {
  const auto law = "a step is one forward pass";

  CHECK(verdict<Faulty<RunsAgain>>(law, Kind::batch_norm) ==
        failed("running statistics are not those of one forward pass"));
  CHECK(verdict<Faulty<RunsAgain>>(law, Kind::dropout) ==
        failed("torch's generator is not where one forward pass leaves it"));
  CHECK(verdict<Faulty<DrawsAtCall>>(law) == failed("torch's generator is not where one forward pass leaves it"));
}

TEST_CASE("the law of two paths fails on a rule whose factors are not its credit", "[credit][law]") {
  CHECK(verdict<NegatedFactors, DFA>("formula and autograd agree in float64") == failed("gradients() differ"));
  CHECK(verdict<NegatedFactors, DFA>("formula and autograd agree in float32") == failed("gradients() differ"));
}
