// SPDX-License-Identifier: Apache-2.0
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/direct_feedback.hpp>

#include "../rules.hpp"
#include "../test.hpp"
#include "mutated.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// DFA whose factors, by its own word of the error alone, follow the size of h_0.
struct ReadsHidden {
  struct State : DFA::State {
    template <class Model>
    Credits credit(Model& model, const Trace& trace) const {
      auto credits = DFA::State::credit(model, trace);
      for (auto& a : credits) a = a * trace.hidden[0].norm();
      return credits;
    }
    template <class Model>
    std::vector<FactoredCredit> factored_credit(Model& model, const Trace& trace) const {
      auto factors = DFA::State::factored_credit(model, trace);
      for (auto& a : factors) a.left = a.left * trace.hidden[0].norm();
      return factors;
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {DFA{}.bind(model, context)};
  }
};

/// Factors that follow the input.
struct ReadsTheInput {
  struct State : DFA::State {
    template <class Model>
    Credits credit(Model& model, const Trace& trace) const {
      auto credits = DFA::State::credit(model, trace);
      for (auto& a : credits) a = a * (1 + trace.input.square().sum());
      return credits;
    }
    template <class Model>
    std::vector<FactoredCredit> factored_credit(Model& model, const Trace& trace) const {
      auto factors = DFA::State::factored_credit(model, trace);
      for (auto& a : factors) a.left = a.left * (1 + trace.input.square().sum());
      return factors;
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {DFA{}.bind(model, context)};
  }
};

/// Factors in the shape of the hidden states, which it looks up there.
struct ReadsSizes {
  struct State : DFA::State {
    template <class Model>
    std::vector<FactoredCredit> factored_credit(Model& model, const Trace& trace) const {
      auto factors = DFA::State::factored_credit(model, trace);
      for (std::size_t l = 0; l < factors.size(); ++l)
        factors[l].right = factors[l].right.view({trace.hidden[l].size(1), trace.error.size(1)});
      return factors;
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {DFA{}.bind(model, context)};
  }
};

/// Counts the hidden states, which are not there in constant memory.
struct CountsHidden {
  struct State : DFA::State {
    template <class Model>
    std::vector<FactoredCredit> factored_credit(Model& model, const Trace& trace) const {
      auto factors = DFA::State::factored_credit(model, trace);
      factors.resize(trace.hidden.size());
      return factors;
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {DFA{}.bind(model, context)};
  }
};

/// DFA whose credit is larger where the last hidden state is there.
struct ReadsTheLast {
  struct State : DFA::State {
    template <class Model>
    Credits credit(Model& model, const Trace& trace) const {
      auto credits = DFA::State::credit(model, trace);
      for (auto& a : credits) {
        if (a.defined() && trace.hidden.back().defined()) a = a * 2;
      }
      return credits;
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {DFA{}.bind(model, context)};
  }
};

/// DFA that follows the size of the gradient through the readout.
struct ReadsTheReadout {
  struct State : DFA::State {
    template <class Model>
    Credits credit(Model& model, const Trace& trace) const {
      auto credits = DFA::State::credit(model, trace);
      for (auto& a : credits) {
        if (a.defined()) a = a * trace.loss_gradient().norm();
      }
      return credits;
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {DFA{}.bind(model, context)};
  }
};

/// DFA that gives credit for states that are not there.
struct GivesAllCredit {
  struct State : DFA::State {
    template <class Model>
    Credits credit(Model&, const Trace& trace) const {
      Credits credits;
      for (const auto& b : feedback) credits.push_back(trace.error.mm(b.t()));
      return credits;
    }
    Credits tensors_of(std::int64_t) const { return {}; }  // every process has all matrices
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {DFA{}.bind(model, context)};
  }
};

/// Direct feedback whose B_l follows what `Way` makes of the trace for it.
template <class Way>
struct Follower {
  static constexpr const char* rule = "Follower";

  struct State {
    static constexpr bool block_parallel = true;
    torch::Tensor seen;  ///< of no hidden state

    template <class Model>
    void learn(Model&, const Trace& trace, const Credits& feedback) const {
      for (std::size_t l = 0; l < feedback.size(); ++l) {
        if (!feedback[l].defined() || !trace.hidden[l].defined()) continue;
        torch::Tensor(feedback[l]).add_(Way::at(l, trace, feedback, seen), 0.01);
      }
    }
    NamedTensors named_tensors() const { return {{"seen", seen}}; }
  };
  State bind(const Credits&, const BindContext& context) const { return {torch::zeros({}, context.dtype)}; }
};
template <class Way>
struct Follows {
  template <class Model>
  auto bind(Model& model, const BindContext& context) const {
    auto state = DirectFeedback<Follower<Way>>{.start = FeedbackStart::Random}.bind(model, context);
    state.signal = Way::signal;
    return state;
  }
};
struct OwnState {
  static constexpr auto signal = Signal::Error;
  static torch::Tensor at(std::size_t l, const Trace& trace, const Credits&, const torch::Tensor& seen) {
    seen.fill_(trace.error.square().sum());
    return trace.hidden[l].t().mm(trace.error);
  }
};
struct NextState : OwnState {
  static torch::Tensor at(std::size_t l, const Trace& trace, const Credits&, const torch::Tensor&) {
    return trace.hidden[l].t().mm(trace.error) * trace.hidden[std::min(l + 1, trace.hidden.size() - 1)].norm();
  }
};
struct NextMatrix : OwnState {
  static torch::Tensor at(std::size_t l, const Trace& trace, const Credits& feedback, const torch::Tensor&) {
    return trace.hidden[l].t().mm(trace.error) * feedback[std::min(l + 1, feedback.size() - 1)].square().sum();
  }
};
struct SharedSum : OwnState {
  static torch::Tensor at(std::size_t l, const Trace& trace, const Credits&, const torch::Tensor& seen) {
    seen.add_(trace.hidden[l].square().sum());
    return trace.hidden[l].t().mm(trace.error);
  }
};
struct UnsaidError : OwnState {
  static constexpr auto signal = Signal::Target;
};

/// DFA that says that it reads something else.
template <Reads said>
struct SaysThatItReads {
  struct State : DFA::State {
    Reads reads() const { return said; }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {DFA{}.bind(model, context)};
  }
};

/// Pulls gradients back, and has not asked for the right to.
struct PullsBackUnasked {
  template <class Model>
  Credits credit(Model&, const Trace& trace) const {
    Credits credits(trace.hidden.size(), trace.loss_gradient());
    for (std::size_t l = credits.size() - 1; l-- > 0;)
      credits[l] = trace.pullback(static_cast<std::int64_t>(l), credits[l + 1]);
    return credits;
  }
};

/// Runs the blocks again to get the true gradient at each block's output, or its input.
template <bool at_input>
struct SilentOracle {
  template <class Model>
  Credits credit(Model& model, const Trace& trace) const {
    const torch::AutoGradMode grad(true);
    Credits states{trace.hidden[0].clone().requires_grad_()};
    for (std::int64_t l = 0; l < model->blocks(); ++l) {
      const auto h = states.back();
      states.push_back(model->join(l, h, model->block(l, h)));
    }
    auto credits = torch::autograd::grad({trace.loss(model->readout(states.back())).sum()}, states);
    if (at_input) credits.insert(credits.begin(), credits.front());
    credits.resize(states.size());
    return credits;
  }
};

}  // namespace

TEST_CASE("the law of the error alone fails on a rule whose factors read hidden states or the input", "[credit][law]") {
  const auto law = "factored credit reads error and target alone";

  const auto reads_more = failed("without the rest of the Trace factored_credit gives another credit");

  CHECK(verdict<ReadsHidden, DFA>(law) == reads_more);
  CHECK(verdict<ReadsTheInput, DFA>(law) == reads_more);
  CHECK(verdict<ReadsSizes, DFA>(law).what.find("without the rest of the Trace factored_credit throws: ") == 0);
  CHECK(verdict<ReadsSizes, DFA>("constant memory changes no gradient").outcome == Verdict::NotApplicable);
}

TEST_CASE("the law of what credit reads fails on a rule that says too little or too much", "[credit][law]") {
  const auto law = "credit reads what it says";

  CHECK(says(verdict<ReadsHidden, DFA>(law).what, {"reads error, but its credit changes with hidden states"}));
  CHECK(says(verdict<SaysThatItReads<Reads::Target>, DFA>(law).what,
             {"reads target, but its credit changes with error"}));
  CHECK(says(verdict<SaysThatItReads<Reads::Error | Reads::Signs>, DFA>(law).what,
             {"reads error, signs of the weights, but its credit does not change with signs of the weights"}));
}

TEST_CASE("the law of blocks in different processes fails on a rule that reads other blocks", "[credit][law]") {
  const auto law = "a block's credit needs its own states alone";

  CHECK(verdict<DFA, DFA>(law) == held());
  CHECK(says(verdict<ReadsHidden, DFA>(law).what, {"without the states of other blocks credit throws"}));
  CHECK(verdict<ReadsTheLast, DFA>(law) == failed("without the states of other blocks the credit for h_1 is another"));
  CHECK(says(verdict<ReadsTheReadout, DFA>(law).what, {"other blocks credit throws: Trace::loss_gradient"}));
  CHECK(says(verdict<GivesAllCredit, DFA>(law).what, {"there is credit for h_", "which the Trace does not have"}));
  CHECK(says(verdict<SaysThatItReads<Reads::Target>, DFA>(law).what, {"the credit for h_1 is another"}));
}

TEST_CASE("the law of learning in different processes fails on a rule that learns from other blocks", "[credit][law]") {
  const auto law = "a block's learning needs its own states alone";
  using Right = Follows<OwnState>;

  CHECK(says(verdict<Follows<NextState>, Right>(law).what, {"without the states of other blocks learn throws"}));
  CHECK(says(verdict<Follows<NextMatrix>, Right>(law).what, {"block 0 learns another feedback.1"}));
  CHECK(says(verdict<Follows<SharedSum>, Right>(law).what, {"block 0 learns another learner.seen"}));
  CHECK(says(verdict<Follows<UnsaidError>, Right>(law).what, {"block 0 learns another feedback.0"}));
}

TEST_CASE("the law of constant memory fails on a rule that needs the hidden states to be there", "[credit][law]") {
  CHECK(verdict<CountsHidden, DFA>("factored credit reads error and target alone") == held());
  CHECK(says(verdict<CountsHidden, DFA>("constant memory changes no gradient").what,
             {"factored_credit gave 0 credits, expected 4"}));
}

TEST_CASE("a rule that pulls back and does not declare it is refused on every model", "[credit][law]") {
  const auto report = testing::check_laws(PullsBackUnasked{});

  CHECK_FALSE(report.ok());
  CHECK(report.count(Verdict::Held) == 0);
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    const auto said = verdict_in(report, laws::trains_the_model, name(kind));
    CHECK(said.outcome == Verdict::Failed);
    CHECK(says(said.what, {"the rule refuses the model: Trace::pullback: ", "wants_pullback = true"}));
  }
}

TEST_CASE("the law of true gradients fails on a rule that is back-propagation and does not say so", "[credit][law]") {
  const auto law = "credit is not the true gradient";

  CHECK(says(verdict<SilentOracle<false>>(law).what, {"credit is the true gradient at the block's output"}));
  CHECK(
      says(verdict<SilentOracle<true>>(law, Kind::tokens).what, {"credit is the true gradient at the block's input"}));
  CHECK(broken(report_on<SilentOracle<false>>(Kind::plain)) == std::vector<std::string>{law});
}

TEST_CASE("a rule that says that it is the true gradient breaks no law", "[credit][law]") {
  const auto report = testing::check_laws(SilentOracle<false>{}, {stages_case(Kind::plain)}, {.true_gradient = true});

  CHECK(report.ok());
  CHECK(verdict_in(report, "credit is not the true gradient", "plain") ==
        not_applicable("the rule says that it may use the true gradient"));
}
