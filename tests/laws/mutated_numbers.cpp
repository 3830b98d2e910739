// SPDX-License-Identifier: Apache-2.0
#include "../rules.hpp"
#include "../test.hpp"
#include "mutated.hpp"

using namespace creditlib;
using namespace creditlib::test;

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

/// Draws at a call in the model's own dtype.
struct DrawsAtCallInModelDtype {
  static Credits apply(Credits credits, auto&, const Trace&, const torch::Tensor&) {
    const auto own = torch::make_generator<at::CPUGeneratorImpl>(5);
    for (auto& a : credits) a = a + at::randn(a.sizes(), own, a.options());
    return credits;
  }
};

/// Gives float32 to every model.
struct GivesFloat32 {
  static Credits apply(Credits credits, auto&, const Trace&, const torch::Tensor&) {
    for (auto& a : credits) a = a.to(torch::kFloat32);
    return credits;
  }
};

/// Projects the error in float32, and casts to the model's dtype.
struct Rounds {
  struct State : TargetProjection::State {
    template <class Model>
    Credits credit(Model&, const Trace& trace) const {
      Credits credits;
      for (const auto& B : feedback)
        credits.push_back(trace.error.mm(B.t()).to(torch::kFloat32).to(trace.error.scalar_type()));
      return credits;
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {TargetProjection{}.bind(model, context)};
  }
};

/// Multiplies by what it has learned in float32.
struct RoundedNets {
  struct State : LearnedProjection::State {
    template <class Model>
    Credits credit(Model& model, const Trace& trace) const {
      Credits credits;
      for (std::size_t l = 0; l < feedback.size(); ++l) {
        const auto a = trace.error.to(torch::kFloat32).mm(feedback[l].to(torch::kFloat32).t());
        credits.push_back(spread(a.to(trace.error.scalar_type()), model, static_cast<std::int64_t>(l)));
      }
      return credits;
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {LearnedProjection{}.bind(model, context)};
  }
};

/// Keeps its matrices in float32, and casts them for each credit.
struct KeepsFloat32 {
  struct State : TargetProjection::State {
    template <class Model>
    Credits credit(Model&, const Trace& trace) const {
      Credits credits;
      for (const auto& B : feedback) credits.push_back(trace.error.mm(B.to(trace.error.scalar_type()).t()));
      return credits;
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    auto state = TargetProjection{}.bind(model, context);
    for (auto& matrix : state.feedback) matrix = matrix.to(torch::kFloat32);
    return {state};
  }
};

/// Learns in float64, and rounds what it has learned to float32.
struct RoundsWhatItLearns {
  struct State : LearnedProjection::State {
    template <class Model>
    void learn(Model& model, const Trace& trace) {
      LearnedProjection::State::learn(model, trace);
      const torch::NoGradGuard no_grad;
      for (auto& matrix : feedback) matrix.copy_(matrix.to(torch::kFloat32));
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {LearnedProjection{}.bind(model, context)};
  }
};

/// No fault: counts the samples of each class as floating-point numbers.
struct CountsClasses {
  struct State : TargetProjection::State {
    torch::Tensor counts;

    template <class Model>
    void learn(Model&, const Trace& trace) {
      counts.index_add_(0, trace.target, torch::ones_like(trace.target).to(counts.scalar_type()));
    }
    NamedTensors named_tensors() const {
      auto named = TargetProjection::State::named_tensors();
      named.emplace_back("counts", counts);
      return named;
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {TargetProjection{}.bind(model, context), torch::zeros({model->classes()}, context.dtype)};
  }
};

/// No fault: the signs of DFA's credit, few numbers that float32 has too.
struct Signs {
  struct State : TargetProjection::State {
    template <class Model>
    Credits credit(Model&, const Trace& trace) const {
      Credits credits;
      for (const auto& B : feedback) credits.push_back(trace.error.mm(B.t()).sign());
      return credits;
    }
  };
  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {TargetProjection{}.bind(model, context)};
  }
};

}  // namespace

TEST_CASE("the law of seeds fails on a rule that draws from torch's global generator", "[credit][law]") {
  CHECK(verdict<DrawsGlobally>("one seed, one credit") == failed("two trainers of one seed have different credits"));
  CHECK(verdict<DrawsGlobally>("bind leaves torch's generator") == failed("bind uses torch's global generator"));
}

TEST_CASE("the law of other seeds fails on a rule that seeds itself", "[credit][law]") {
  CHECK(verdict<SeedsItself>("another seed, another credit") ==
        failed("another seed changes no credit; for a rule that draws nothing set LawOptions::draws to false"));
}

TEST_CASE("the law of dtypes fails on a rule that draws in the model's", "[credit][law]") {
  CHECK(verdict<DrawsInModelDtype>("one state in float32 and float64") ==
        failed("credit.feedback.0 is another in float64"));
  CHECK(verdict<Faulty<DrawsAtCallInModelDtype>>("one credit in float32 and float64") ==
        failed("credits in float64 are others"));
}

TEST_CASE("the laws of dtypes fail on a rule that computes in float32", "[credit][law]") {
  CHECK(says(verdict<Faulty<GivesFloat32>>("credit fits the output").what,
             {"The credit source gave credit 0 as (7, 5) float32 on cpu, expected (7, 5) float64"}));
  CHECK(verdict<Rounds>("a float64 model gets float64 digits") == failed("credit 0 is rounded to float32"));
  CHECK(verdict<RoundedNets, LearnedProjection>("a float64 model gets float64 digits") ==
        failed("credit 0 is rounded to float32"));
  CHECK(verdict<KeepsFloat32>("a float64 model gets float64 digits") ==
        failed("credit.feedback.0 is float32 in a float64 model"));
  CHECK(verdict<RoundsWhatItLearns, LearnedProjection>("a float64 model gets float64 digits") ==
        failed("credit.feedback.0 is rounded to float32"));
}

TEST_CASE("signs and counts are no numbers that were rounded to float32", "[credit][law]") {
  CHECK(report_on<Signs>(Kind::plain).ok());
  CHECK(report_on<CountsClasses>(Kind::plain).ok());
}
