// SPDX-License-Identifier: Apache-2.0
#include <creditlib/clip/by_all.hpp>
#include <creditlib/clip/by_block.hpp>
#include <creditlib/clip/by_value.hpp>
#include <creditlib/optimizer/adamw.hpp>
#include <creditlib/optimizer/sgd.hpp>
#include <creditlib/rate/constant.hpp>
#include <creditlib/rate/cosine.hpp>
#include <creditlib/rate/one_cycle.hpp>
#include <creditlib/rate/reduce_on_plateau.hpp>
#include <creditlib/rate/warmup_cosine.hpp>
#include <creditlib/testing/policy_laws.hpp>
#include <string>
#include <vector>

#include "../test.hpp"

using namespace creditlib;
using creditlib::testing::check_laws;

// The laws of optimizers, rates and clips: ours obey them, and parts that are wrong in one way are caught by that law.
namespace {

/// The laws that failed.
template <class Part>
std::vector<std::string> broken(const Part& part) {
  std::vector<std::string> laws;
  for (const auto& result : check_laws(part).results) {
    if (result.verdict.outcome == testing::Verdict::Failed) laws.push_back(result.law);
  }
  return laws;
}
using Laws = std::vector<std::string>;

/// Gradient descent with one fault.
template <class Fault>
struct Descent {
  struct State : Fault {
    std::vector<TrainedParameter> parameters;
    torch::Tensor steps = torch::zeros({}, torch::kFloat64);
    double factor = 1;

    void set_rate(double now) { factor = now; }
    void step() {
      const torch::NoGradGuard no_grad;
      for (auto& trained : parameters) Fault::move(*this, trained);
      steps.add_(1);
    }
    NamedTensors named_tensors() const { return Fault::kept(*this); }
  };
  State bind(std::vector<TrainedParameter> parameters) const { return {{}, std::move(parameters)}; }
};

struct None {
  static void move(auto& state, TrainedParameter& t) {
    if (t.parameter.grad().defined()) t.parameter.sub_(t.parameter.grad(), t.lr * state.factor);
  }
  static NamedTensors kept(const auto& state) { return {{"steps", state.steps}}; }
};
struct IgnoresFactor : None {
  static void move(auto&, TrainedParameter& t) {
    if (t.parameter.grad().defined()) t.parameter.sub_(t.parameter.grad(), t.lr);
  }
};
struct OneRate : None {
  static void move(auto& state, TrainedParameter& t) {
    if (t.parameter.grad().defined()) t.parameter.sub_(t.parameter.grad(), state.parameters[0].lr * state.factor);
  }
};
struct DecaysAlways : None {
  static void move(auto& state, TrainedParameter& t) {
    t.parameter.mul_(1 - 0.1 * t.weight_decay);
    None::move(state, t);
  }
};
struct ScalesGradients : None {
  static void move(auto& state, TrainedParameter& t) {
    if (t.parameter.grad().defined()) t.parameter.mutable_grad().mul_(0.5);
    None::move(state, t);
  }
};
struct Forgets : None {
  static void move(auto& state, TrainedParameter& t) {
    if (!t.parameter.grad().defined()) return;
    t.parameter.sub_(t.parameter.grad(), t.lr * state.factor / (1 + state.steps.template item<double>()));
  }
  static NamedTensors kept(const auto&) { return {}; }
};

struct CountsCalls {
  mutable double calls = 0;
  double operator()(const Progress&) const { return 1 / ++calls; }
};
struct ForgetsReports {
  struct State {
    double factor = 1;
    double operator()(const Progress&) const { return factor; }
    void report(double value) {
      if (value > 0.5) factor *= 0.9;
    }
  };
  State bind() const { return {}; }
};
struct ForgetsHalf : ForgetsReports {
  struct State : ForgetsReports::State {
    NamedTensors named_tensors() const { return {}; }
  };
  State bind() const { return {}; }
};

struct WritesIntoTensors {
  void operator()(std::vector<torch::Tensor>& gradients, const ParameterParts&) const {
    for (auto& gradient : gradients) {
      if (gradient.defined()) gradient.clamp_(-1, 1);
    }
  }
};
struct DropsGradients {
  void operator()(std::vector<torch::Tensor>& gradients, const ParameterParts& parts) const {
    gradients[parts.embed[0]].reset();
  }
};
struct RunningClip {
  mutable double most = 0;
  void operator()(std::vector<torch::Tensor>& gradients, const ParameterParts& parts) const {
    for (const auto& gradient : gradients) {
      if (gradient.defined()) most = std::max(most, gradient.abs().max().item<double>());
    }
    clip::ByValue{.value = most / 2}(gradients, parts);
  }
};

}  // namespace

TEST_CASE("our optimizers, rates and clips obey the laws of their kinds", "[law]") {
  for (const auto& report :
       {check_laws(optimizer::AdamW{}), check_laws(optimizer::SGD{}), check_laws(optimizer::SGD{.momentum = 0}),
        check_laws(rate::Cosine{}), check_laws(rate::Constant{}), check_laws(rate::WarmupCosine{.steps = 10}),
        check_laws(rate::WarmupCosine{.steps = 10, .total = 90}), check_laws(rate::OneCycle{.total = 100}),
        check_laws(rate::ReduceOnPlateau{.patience = 2}), check_laws(clip::ByBlock{}), check_laws(clip::ByAll{}),
        check_laws(clip::ByValue{}), check_laws(Descent<None>{})}) {
    INFO(report.text());
    CHECK(report.ok());
  }
}

TEST_CASE("an optimizer that is wrong is caught by the law that it breaks", "[law]") {
  CHECK(broken(Descent<IgnoresFactor>{}) == Laws{"the rate is lr times the factor", "nothing moves at the rate 0"});
  CHECK(broken(Descent<OneRate>{}) == Laws{"the rate is lr times the factor"});
  CHECK(broken(Descent<DecaysAlways>{}) ==
        Laws{"a step moves what has a gradient", "nothing moves at the rate 0"});
  CHECK(broken(Descent<ScalesGradients>{}) == Laws{"a step moves what has a gradient"});
  CHECK(broken(Descent<Forgets>{}) == Laws{"an optimizer resumes from its named tensors"});
}

TEST_CASE("a rate that is wrong is caught by the law that it breaks", "[law]") {
  CHECK(broken([](const Progress& now) { return now.step < 3 ? 1.0 : -1.0; }) == Laws{"factors can be used"});
  CHECK(broken([](const Progress&) { return 0.0; }) == Laws{"factors can be used"});
  CHECK(broken(CountsCalls{}) == Laws{"the same progress gives the same factor"});
  CHECK(broken(ForgetsReports{}) == Laws{"a rate resumes from its named tensors"});
  CHECK(broken(ForgetsHalf{}) == Laws{"a rate resumes from its named tensors"});
}

TEST_CASE("a clip that is wrong is caught by the law that it breaks", "[law]") {
  CHECK(broken(WritesIntoTensors{}) == Laws{"a clip keeps shapes and leaves the tensors as they are"});
  CHECK(broken(DropsGradients{}) == Laws{"a clip keeps shapes and leaves the tensors as they are"});
  CHECK(broken(RunningClip{}) == Laws{"the same gradients are clipped alike"});
}
