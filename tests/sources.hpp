// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <creditlib/concepts.hpp>
#include <creditlib/credit/dfa.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "test.hpp"

/// Credit sources, and a schedule, that tests see through trainers with.
namespace creditlib::test {

/// Gives the credits that a test has chosen.
struct FixedCredit {
  std::vector<torch::Tensor> given = {};

  std::vector<torch::Tensor> credit(auto&, const Trace&) const { return given; }
};

/// DFA whose factors a test has changed.
struct ChangedFactors {
  std::function<void(std::vector<FactoredCredit>&)> change;

  struct State : DFA::State {
    std::function<void(std::vector<FactoredCredit>&)> change;

    template <class Model>
    std::vector<FactoredCredit> factored_credit(Model& model, const Trace& trace) const {
      auto factors = DFA::State::factored_credit(model, trace);
      change(factors);
      return factors;
    }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {DFA{}.bind(model, context), change};
  }
};

template <class S, detail::TraceRights rights>
struct CapturedState {
  static constexpr bool wants_pullback = rights.pullback, wants_pushforward = rights.pushforward;
  S inner;
  std::shared_ptr<std::vector<Trace>> traces = std::make_shared<std::vector<Trace>>();

  template <class Model>
  std::vector<torch::Tensor> credit(Model& model, const Trace& trace) {
    traces->push_back(trace);
    return inner.credit(model, trace);
  }
};

/// A rule that keeps each Trace that it is shown.
template <class Rule>
struct Captured {
  Rule rule = {};

  template <class Model>
  auto bind(Model& model, const BindContext& context) const {
    using S = CreditState<Rule, Model>;
    if constexpr (requires { rule.bind(model, context); }) {
      return CapturedState<S, detail::wanted_rights<Rule, S>()>{rule.bind(model, context)};
    } else {
      return CapturedState<S, detail::wanted_rights<Rule, S>()>{rule};
    }
  }
};

/// Writes down which of its members are called; `tag` tells two of them apart.
struct Recorder {
  std::string tag = {};
  std::shared_ptr<std::vector<std::string>> calls = std::make_shared<std::vector<std::string>>();

  std::vector<torch::Tensor> credit(auto&, const Trace& trace) const {
    calls->push_back(tag + "credit");
    std::vector<torch::Tensor> credits;
    for (const auto& h : trace.hidden) credits.push_back(torch::ones_like(h));
    return credits;
  }
  void learn(auto&, const Trace&) { calls->push_back(tag + "learn"); }
  void after_step(auto&, const Trace&) { calls->push_back(tag + "after_step"); }
};

/// Says what it is asked.
struct RecordingSchedule {
  std::shared_ptr<std::vector<Progress>> asked = std::make_shared<std::vector<Progress>>();
  std::array<double, 1> weights(const Progress& progress) const {
    asked->push_back(progress);
    return {1};
  }
};

/// A schedule of two sources that counts how often it is asked.
struct CountingSchedule {
  std::shared_ptr<int> asked_weights = std::make_shared<int>(0), asked_learns = std::make_shared<int>(0);

  std::array<double, 2> weights(const Progress&) const {
    ++*asked_weights;
    return {0.5, 0.5};
  }
  std::array<bool, 2> learns(const Progress&) const {
    ++*asked_learns;
    return {true, true};
  }
};

/// One row of a loop over (B, R) times (C, R), in plain numbers: e B^T.
inline torch::Tensor times_transposed(const torch::Tensor& e, const torch::Tensor& matrix) {
  const auto left = e.to(torch::kFloat64).contiguous(), right = matrix.to(torch::kFloat64).contiguous();
  auto product = torch::zeros({left.size(0), right.size(0)}, torch::kFloat64);
  const auto l = left.accessor<double, 2>(), r = right.accessor<double, 2>();
  auto p = product.accessor<double, 2>();
  for (std::int64_t b = 0; b < left.size(0); ++b) {
    for (std::int64_t i = 0; i < right.size(0); ++i) {
      for (std::int64_t c = 0; c < left.size(1); ++c) p[b][i] += l[b][c] * r[i][c];
    }
  }
  return product;
}

/// softmax(logits) - onehot(labels), number by number.
inline torch::Tensor plain_error(const torch::Tensor& logits, const torch::Tensor& labels) {
  auto error = torch::zeros_like(logits.detach());
  for (std::int64_t b = 0; b < logits.size(0); ++b) {
    double sum = 0;
    for (std::int64_t c = 0; c < logits.size(1); ++c) sum += std::exp(logits[b][c].item<double>());
    for (std::int64_t c = 0; c < logits.size(1); ++c) {
      error[b][c] = std::exp(logits[b][c].item<double>()) / sum - (labels[b].item<std::int64_t>() == c ? 1 : 0);
    }
  }
  return error;
}

/// Each sample over its root mean square, number by number.
inline torch::Tensor plain_unit_rms(const torch::Tensor& a, double eps = 1e-6) {
  auto unit = a.clone();
  for (std::int64_t b = 0; b < a.size(0); ++b) {
    const double rms = a[b].norm().item<double>() / std::sqrt(static_cast<double>(a[b].numel()));
    unit[b] /= rms + eps;
  }
  return unit;
}

/// Other numbers into all parameters of a model, as another run of training would leave them.
inline void randomise(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  for (auto& parameter : module.parameters()) parameter.normal_();
}

}  // namespace creditlib::test
