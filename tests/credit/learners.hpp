// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <creditlib/credit/state_predictor.hpp>
#include <creditlib/credit/value_net.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/local_trainer.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"
#include "../trace_of.hpp"
#include "by_hand.hpp"

/// The credit sources that learn, what tests need to know of each, and how to see what they do. Functions that return
/// text say what is wrong, or nothing.
namespace creditlib::test {

/// A schedule under which nothing learns.
struct LearnsNothing {
  std::array<double, 1> weights(const Progress&) const { return {1.0}; }
  std::array<bool, 1> learns(const Progress&) const { return {false}; }
};

/// "" where a trainer whose source does not learn keeps its first credits, to the bit, and one that learns does not.
template <class Rule>
std::string without_learning_nothing_moves(const Rule& rule) {
  const auto batch = small_batch();
  LocalTrainer off(small_model(), rule, {}, LearnsNothing{});
  LocalTrainer on(small_model(), rule);
  const auto before = off.raw_credits(batch.x, batch.y);
  if (!same(before, on.raw_credits(batch.x, batch.y))) return "they start apart";

  for (int i = 0; i < 3; ++i) {
    off.learn(batch.x, batch.y);
    on.learn(batch.x, batch.y);
  }

  if (!same(before, off.raw_credits(batch.x, batch.y))) return "it learns where the schedule does not let it";
  const auto after = on.raw_credits(batch.x, batch.y);
  for (std::size_t l = 0; l < after.size(); ++l) {
    if (torch::equal(before[l], after[l])) return "learning does not change credit " + std::to_string(l);
  }
  return "";
}

/// All that a state keeps.
template <class State>
std::vector<torch::Tensor> kept(const State& state) {
  std::vector<torch::Tensor> tensors;
  for (const auto& [name, tensor] : state.named_tensors()) tensors.push_back(tensor);
  return copies(tensors);
}

/// "" where learn's gradients are those of the sum of losses() by finite differences, at some numbers of each
/// parameter; the rule must have lr 0 and no clipping, the model be of float64.
template <class Rule, class Model>
std::string learns_down_its_losses(const Rule& rule, Model model, const Batch& batch) {
  const auto bound = context(torch::kFloat64);
  auto state = rule.bind(model, bound);
  const auto trace = trace_of(model, batch);
  const auto start = bound.generator.get_state();
  const auto from_start = [&](const auto& action) {
    torch::Generator(bound.generator).set_state(start);
    return action();
  };
  from_start([&] { state.learn(model, trace); });

  const auto loss = [&] {
    return from_start([&] {
      double sum = 0;
      for (const auto& part : state.losses(model, trace)) sum += part.template item<double>();
      return sum;
    });
  };
  std::size_t checked = 0;
  for (const auto& parameter : state.nets.parameters()) {
    if (!parameter.grad().defined()) continue;
    const auto numbers = parameter.data().view(-1), slopes = parameter.grad().view(-1);
    for (const std::int64_t i : {std::int64_t{0}, numbers.numel() / 2, numbers.numel() - 1}) {
      const double at = numbers[i].template item<double>(), h = 1e-5;
      numbers[i] = at + h;
      const double above = loss();
      numbers[i] = at - h;
      const double below = loss();
      numbers[i] = at;
      const double expected = (above - below) / (2 * h), found = slopes[i].template item<double>();
      if (std::abs(expected - found) > 1e-6 * std::max(1.0, std::abs(expected))) {
        return c10::str("a gradient is ", found, ", by finite differences ", expected);
      }
      ++checked;
    }
  }
  return checked > 10 ? "" : "no gradients";
}

/// What joint norms the gradients of each net have after one learn.
template <class State>
std::vector<double> gradient_norms(const State& state) {
  std::vector<double> norms;
  for (std::size_t i = 0; i < state.nets.size(); ++i) {
    double sum = 0;
    for (const auto& parameter : state.nets[i]->parameters()) {
      if (parameter.grad().defined()) sum += parameter.grad().square().sum().template item<double>();
    }
    norms.push_back(std::sqrt(sum));
  }
  return norms;
}

/// dloss/dh.
inline torch::Tensor slope(const torch::Tensor& loss, const torch::Tensor& h) {
  return torch::autograd::grad({loss}, {h})[0];
}

/// A row of a tensor as a batch of one.
inline torch::Tensor row(const torch::Tensor& t, std::int64_t b) { return t.narrow(0, b, 1); }

/// The loss of one sample from h_l = h (1, ...) on, by torch's own cross-entropy.
template <class Model>
double sample_loss(Model& model, std::int64_t l, torch::Tensor h, const torch::Tensor& label) {
  const torch::NoGradGuard no_grad;
  for (; l < model->blocks(); ++l) h = model->join(l, h, model->block(l, h));
  return torch::nn::functional::cross_entropy(model->readout(h), label).template item<double>();
}

// ---- The learners ----

/// A rule on a model, and what the Error says if the rule cannot be bound to it; empty if it can.
template <class Rule>
struct Refused {
  Rule rule;
  std::vector<std::string> says;
  Kind on = Kind::plain;
};

/// How well a source must follow a frozen network's gradients.
struct Floor {
  double gamma, rho;
};

// Each learner has:
// - tiny: the rule with small nets, for tests of what is computed;
// - thorough, steps, floor: the rule on the frozen network, how many steps it learns, and what it must reach at each
//   hidden state;
// - moved_as_it_must(first, off, on): whether these are the mean Gammas to expect of a rule that has learned one
//   network, is shown another, and has learned that one too (after steps_on_another steps each);
// - clipped_on: a model on which each net is clipped alone;
// - credit_reads_..., learning_reads_...: what they read in addition to hidden states and error;
// - refused(): options, right and wrong.

struct LearnsVec {
  using Rule = Vec;
  static inline const Vec tiny{.directions = 3, .hidden = 7, .layers = 2, .time = 4};

  static inline const Vec thorough{.hidden = 64};
  static constexpr int steps = 300, steps_on_another = 150;
  static constexpr Floor floor{0.5, 0.5};
  static bool moved_as_it_must(double first, double off, double on) {
    return first > 0.5 && std::abs(off) < 0.2 && on > 0.5;
  }

  static constexpr Kind clipped_on = Kind::tokens;
  static constexpr bool credit_reads_readout = false, credit_reads_target = false, learning_reads_blocks = true;
  static constexpr bool learning_reads_readout = true, learning_reads_target = true;

  static std::vector<Refused<Vec>> refused() {
    return {
        {{.directions = 0}, {"Vec: directions (M) is 0, expected at least 1."}},
        {{.epsilon = 0}, {"Vec: epsilon is 0, expected a finite number > 0."}},
        {{.lr = -1}, {"Vec: lr is -1, expected a finite number >= 0."}},
        {{.clip = 0}, {"Vec: clip is 0, expected a finite number > 0."}},
        {{.hidden = 0}, {"CreditNet: hidden is 0, expected at least 1."}},
        {{.time = 5}, {"CreditNet: time is 5, expected an even number"}},
        {{.at = CreditPoint::BlockInput}, {"Vec: .at = BlockInput drives block 1", "(5)", "(8)", "use BlockOutput"}},
        {{.at = CreditPoint::BlockInput}, {}, Kind::tokens}};
  }
};

/// ValueNet with the scripts' loss alone.
struct LearnsValueNet {
  using Rule = ValueNet;
  static inline const ValueNet tiny{.samples = 3, .sigma = 0.2, .hidden = 7, .layers = 2, .time = 4};

  static inline const ValueNet thorough{.ema = 0.9, .lr = 5e-3, .hidden = 32};
  static constexpr int steps = 250, steps_on_another = 200;
  static constexpr Floor floor{0.2, 0.2};
  static bool moved_as_it_must(double first, double off, double on) {
    return first > 0.3 && std::abs(off) < 0.15 && on > 0.3;
  }

  static constexpr Kind clipped_on = Kind::plain;
  static constexpr bool credit_reads_readout = false, credit_reads_target = false, learning_reads_blocks = false;
  static constexpr bool learning_reads_readout = false, learning_reads_target = true;

  static std::vector<Refused<ValueNet>> refused() {
    return {{{.samples = 0}, {"ValueNet: samples (K) is 0, expected at least 1."}},
            {{.sigma = -1}, {"ValueNet: sigma is -1, expected a finite number >= 0."}},
            {{.lambda = 0}, {"ValueNet: lambda is 0, expected a finite number > 0."}},
            {{.ema = 1}, {"ValueNet: ema is 1, expected a number >= 0 and < 1."}},
            {{.terminal_gradient_weight = -1}, {"ValueNet: terminal_gradient_weight is -1"}},
            {{.lr = NAN}, {"ValueNet: lr is nan"}},
            {{.clip = -1}, {"ValueNet: clip is -1"}},
            {{.layers = 0}, {"CreditNet: layers is 0, expected at least 1."}},
            {{.at = CreditPoint::BlockInput}, {"ValueNet: .at = BlockInput drives block 1", "use BlockOutput"}},
            {{.sigma = 0, .ema = 0}, {}}};
  }
};

/// ValueNet with the terminal gradient matched.
struct LearnsMatchedValueNet : LearnsValueNet {
  static inline const ValueNet tiny{
      .samples = 3, .sigma = 0.2, .terminal_gradient_weight = 1, .hidden = 7, .layers = 2, .time = 4};
  static inline const ValueNet thorough{.ema = 0.9, .terminal_gradient_weight = 1, .lr = 5e-3, .hidden = 32};
  static constexpr bool learning_reads_readout = true;
};

struct LearnsStatePredictor {
  using Rule = StatePredictor;
  static inline const StatePredictor tiny{.hidden = 7, .layers = 2, .time = 4};

  static inline const StatePredictor thorough{.hidden = 64};
  static constexpr int steps = 200, steps_on_another = 200;
  static constexpr Floor floor{0.5, 0.5};
  /// It still reads the other network's readout, so that it is not lost altogether.
  static bool moved_as_it_must(double first, double off, double on) {
    return first > 0.7 && off < 0.6 * on && on > 0.7;
  }

  static constexpr Kind clipped_on = Kind::plain;
  static constexpr bool credit_reads_readout = true, credit_reads_target = true, learning_reads_blocks = false;
  static constexpr bool learning_reads_readout = false, learning_reads_target = false;

  static std::vector<Refused<StatePredictor>> refused() {
    return {{{.lr = -1}, {"StatePredictor: lr is -1, expected a finite number >= 0."}},
            {{.clip = 0}, {"StatePredictor: clip is 0, expected a finite number > 0."}},
            {{.hidden = 0}, {"CreditNet: hidden is 0, expected at least 1."}},
            {{.time = 0}, {"CreditNet: time is 0, expected an even number"}},
            {{.at = CreditPoint::BlockInput}, {"StatePredictor: .at = BlockInput drives block 1", "use BlockOutput"}},
            {{.at = CreditPoint::BlockInput}, {}, Kind::tokens}};
  }
};

/// All learners. A new one joins by one line.
using Learners = std::tuple<LearnsVec, LearnsValueNet, LearnsMatchedValueNet, LearnsStatePredictor>;

}  // namespace creditlib::test
