// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/testing/laws.hpp>
#include <map>
#include <string>
#include <vector>

#include "../rules.hpp"
#include "subjects.hpp"

/// Rules that break a law on purpose, each TargetProjection with one fault, and what check_laws says of them.
namespace creditlib::test {

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

/// A checkpoint that has not all of the state: the call count that the sign comes from.
struct Forgets {
  static constexpr bool forgets = true;
  static Credits apply(Credits credits, auto&, const Trace&, const torch::Tensor& counter) {
    for (auto& a : credits) a = a + counter;
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

/// Draws at a call from torch's global generator.
struct DrawsAtCall {
  static Credits apply(Credits credits, auto&, const Trace&, const torch::Tensor&) {
    for (auto& a : credits) a = a + torch::randn_like(a);
    return credits;
  }
};

template <class Rule>
const Report& report_on(Kind kind) {
  static std::map<Kind, Report> reports;
  if (!reports.count(kind)) reports[kind] = testing::check_laws(Rule{}, {stages_case(kind)});
  return reports.at(kind);
}

/// What the law says of a wrong rule on a model; of the right rule it says that it held.
template <class Rule, class Right = TargetProjection>
Verdict verdict(const std::string& law, Kind kind = Kind::plain) {
  REQUIRE(report_on<Right>(kind).ok());
  REQUIRE(verdict_in(report_on<Right>(kind), law, name(kind)) == held());
  return verdict_in(report_on<Rule>(kind), law, name(kind));
}

/// The laws that failed, by name.
inline std::vector<std::string> broken(const Report& report) {
  std::vector<std::string> names;
  for (const auto& result : report.results) {
    if (result.verdict.outcome == Verdict::Failed) names.push_back(result.law);
  }
  return names;
}

}  // namespace creditlib::test
