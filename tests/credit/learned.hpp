// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/diagnostics/ridge_control.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <string>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"
#include "../trace_of.hpp"
#include "by_hand.hpp"

/// A frozen trained network, and how well the credit of a source that learns follows its gradients.
namespace creditlib::test {

/// A network that back-propagation has trained, and samples that it was trained on and was not. The labels are drawn
/// from a random network's probabilities, so that no training can make the error vanish.
struct FrozenTask {
  ResidualMLP model = nullptr;
  Batch training, held_out;
};

inline constexpr std::int64_t frozen_classes = 6;

inline FrozenTask made_task(std::uint64_t weights_seed) {
  torch::manual_seed(99);
  const auto first = torch::randn({16, 32}) / 2, second = torch::randn({32, frozen_classes}) * 0.6;
  const auto samples = [&](std::int64_t number) -> Batch {
    const auto x = torch::randn({number, 16});
    const auto gumbel = -(-torch::rand({number, frozen_classes}).log()).log();
    return {x, (torch::tanh(x.mm(first)).mm(second) + gumbel).argmax(1)};
  };
  FrozenTask task{.training = samples(2048), .held_out = samples(96)};
  torch::manual_seed(weights_seed);
  task.model = ResidualMLP({.input = 16, .width = 24, .classes = frozen_classes, .blocks = 3});
  BackpropTrainer trainer(task.model, {.lr = 2e-3, .rate = Rate::Constant});
  for (int step = 0; step < 300; ++step) {
    const auto rows = torch::randint(2048, {64});
    trainer.step(task.training.x.index_select(0, rows), task.training.y.index_select(0, rows));
  }
  return task;
}

/// Made once; nothing that tests do to it changes it.
inline FrozenTask& frozen_task() {
  static FrozenTask task = made_task(3);
  return task;
}

/// Lets a source learn from batches of 64 of the task, the network as it is.
template <class State>
void learn_frozen(State& state, FrozenTask& task, int steps) {
  const auto draws = generator(21);
  for (int step = 0; step < steps; ++step) {
    const auto rows = at::randint(task.training.x.size(0), {64}, draws, torch::TensorOptions(torch::kInt64));
    const Batch batch{task.training.x.index_select(0, rows), task.training.y.index_select(0, rows)};
    state.learn(task.model, trace_of(task.model, batch));
  }
}

/// The cosine of each row of a, (..., B, d), with that of g, (B, d).
inline torch::Tensor row_cosines(const torch::Tensor& a, const torch::Tensor& g) {
  const auto x = a.to(torch::kFloat64), y = g.to(torch::kFloat64);
  return (x * y).sum(-1) / (x.norm(2, -1) * y.norm(2, -1));
}

/// Pearson's correlation over the last two dimensions.
inline torch::Tensor correlations(torch::Tensor p, torch::Tensor c) {
  p = p.flatten(-2).to(torch::kFloat64);
  c = c.flatten(-2).to(torch::kFloat64);
  p = p - p.mean(-1, true);
  c = c - c.mean(-1, true);
  return (p * c).sum(-1) / (p.norm(2, -1) * c.norm(2, -1));
}

/// Directions at each hidden state, and how the loss changes along them: central differences in float64 of the blocks
/// above and the readout, written out.
struct Probes {
  std::vector<torch::Tensor> directions, change;  ///< (B, M, d), (B, M)

  Probes(FrozenTask& task, const std::vector<torch::Tensor>& hidden) {
    auto wide = ResidualMLP(task.model->options());
    wide->to(torch::kFloat64);
    const torch::NoGradGuard no_grad;
    for (const auto& entry : task.model->named_parameters()) wide->named_parameters()[entry.key()].copy_(entry.value());
    const std::int64_t M = 16;
    torch::manual_seed(17);
    for (std::size_t l = 0; l < hidden.size(); ++l) {
      const auto h = hidden[l].to(torch::kFloat64);
      auto v = torch::randn({h.size(0), M, h.size(1)}, torch::kFloat64);
      v = v / v.norm(2, 2, true);
      const auto loss = [&](torch::Tensor at) {
        for (auto k = static_cast<std::int64_t>(l); k < wide->blocks(); ++k) at = at + wide->block(k, at);
        return torch::nn::functional::cross_entropy(
            wide->readout(at), task.held_out.y,
            torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kNone));
      };
      std::vector<torch::Tensor> slopes;
      for (std::int64_t m = 0; m < M; ++m) {
        slopes.push_back((loss(h + 1e-4 * v.select(1, m)) - loss(h - 1e-4 * v.select(1, m))) / 2e-4);
      }
      directions.push_back(v);
      change.push_back(torch::stack(slopes, 1));
    }
  }

  /// (..., B, M) of credit (..., B, d) at h_l.
  torch::Tensor projections(std::size_t l, const torch::Tensor& a) const {
    return (a.unsqueeze(-2).to(torch::kFloat64) * directions[l]).sum(-1);
  }
};

/// Gamma and rho at one hidden state, and the p of permutation tests that they are no better than the untrained net's
/// (credits exchanged sample by sample) and than this net's where each sample is given the outcome of another: s, and
/// with it the target, which StatePredictor reads too.
/// Beside them Gamma of the best fixed linear feedback of the error, the ridge control.
struct Follows {
  double gamma, rho, untrained_gamma, untrained_rho, shuffled_gamma, shuffled_rho;
  double ridge_gamma;
  double p_untrained_gamma, p_untrained_rho, p_shuffled_gamma, p_shuffled_rho;

  double largest_p() const { return std::max({p_untrained_gamma, p_untrained_rho, p_shuffled_gamma, p_shuffled_rho}); }
};

/// (1 + #{null >= found}) / (1 + n).
inline double p_value(double found, const torch::Tensor& null) {
  return (1 + null.ge(found - 1e-12).sum().item<double>()) / (1 + static_cast<double>(null.numel()));
}

/// How a trained state's credit follows the held-out samples' gradients, at each hidden state.
template <class State>
std::vector<Follows> follows(const State& trained, const State& untrained, FrozenTask& task) {
  constexpr std::int64_t permutations = 1000, at_once = 50;
  const auto trace = trace_of(task.model, task.held_out);
  const auto g = diagnostics::true_gradients(task.model, task.held_out.x, task.held_out.y);
  const auto a = trained.credit(task.model, trace), before = untrained.credit(task.model, trace);
  const Probes probes(task, trace.hidden);
  const auto B = trace.error.size(0);
  const auto draws = generator(31);

  // The batch again and again, each time with the outcomes in another order.
  std::vector<std::vector<torch::Tensor>> gamma_null(g.size()), rho_null(g.size());
  for (std::int64_t done = 0; done < permutations; done += at_once) {
    Trace shuffled = trace;
    std::vector<torch::Tensor> errors, targets;
    for (std::int64_t i = 0; i < at_once; ++i) {
      const auto order = at::randperm(B, draws, torch::TensorOptions(torch::kInt64));
      errors.push_back(trace.error.index_select(0, order));
      targets.push_back(trace.target.index_select(0, order));
    }
    shuffled.error = torch::cat(errors);
    shuffled.target = torch::cat(targets);
    for (auto& h : shuffled.hidden) h = h.repeat({at_once, 1});
    const auto null = trained.credit(task.model, shuffled);
    for (std::size_t l = 0; l < g.size(); ++l) {
      const auto credit = null[l].view({at_once, B, -1});
      gamma_null[l].push_back(row_cosines(credit, g[l]).mean(1));
      rho_null[l].push_back(correlations(probes.projections(l, credit), probes.change[l].expand({at_once, -1, -1})));
    }
  }

  const auto pairs = [&](const Batch& samples) {
    return diagnostics::errors_and_gradients(task.model, std::vector{std::pair{samples.x, samples.y}});
  };
  const auto ridge = diagnostics::ridge_control(pairs(task.training), pairs(task.held_out));

  std::vector<Follows> found;
  for (std::size_t l = 0; l < g.size(); ++l) {
    Follows f{};
    f.gamma = diagnostics::alignment(a[l], g[l]).value.value();
    f.untrained_gamma = diagnostics::alignment(before[l], g[l]).value.value();
    f.ridge_gamma = ridge[l].gamma.value.value();
    const auto own = probes.projections(l, a[l]), other = probes.projections(l, before[l]);
    f.rho = correlations(own, probes.change[l]).template item<double>();
    f.untrained_rho = correlations(other, probes.change[l]).template item<double>();

    const auto gammas = torch::cat(gamma_null[l]), rhos = torch::cat(rho_null[l]);
    f.shuffled_gamma = gammas.mean().template item<double>();
    f.shuffled_rho = rhos.mean().template item<double>();
    f.p_shuffled_gamma = p_value(f.gamma, gammas);
    f.p_shuffled_rho = p_value(f.rho, rhos);

    const auto exchanged = at::randint(2, {permutations, B}, draws, torch::TensorOptions(torch::kFloat64));
    const auto difference = row_cosines(a[l], g[l]) - row_cosines(before[l], g[l]);
    f.p_untrained_gamma = p_value(f.gamma - f.untrained_gamma, (1 - 2 * exchanged).mv(difference) / B);
    // Both on one scale, since Pearson's correlation knows none.
    const auto x = own / own.std(), y = other / other.std();
    const auto swap = exchanged.unsqueeze(2);
    const auto c = probes.change[l].expand({permutations, -1, -1});
    const auto null = correlations(x + swap * (y - x), c) - correlations(y + swap * (x - y), c);
    f.p_untrained_rho = p_value(f.rho - f.untrained_rho, null);
    found.push_back(f);
  }
  return found;
}

inline std::string text(const std::vector<Follows>& follows) {
  std::string said;
  for (std::size_t l = 0; l < follows.size(); ++l) {
    const auto& f = follows[l];
    said += c10::str("h_", l, ": Gamma ", f.gamma, " (untrained ", f.untrained_gamma, ", shuffled ", f.shuffled_gamma,
                     "), rho ", f.rho, " (untrained ", f.untrained_rho, ", shuffled ", f.shuffled_rho,
                     "), ridge control ", f.ridge_gamma, ", largest p ", f.largest_p(), "\n");
  }
  return said;
}

/// The mean over hidden states of Gamma on the held-out samples.
template <class State>
double mean_gamma(const State& state, FrozenTask& task) {
  const auto a = state.credit(task.model, trace_of(task.model, task.held_out));
  const auto g = diagnostics::true_gradients(task.model, task.held_out.x, task.held_out.y);
  double sum = 0;
  for (std::size_t l = 0; l < g.size(); ++l) sum += diagnostics::alignment(a[l], g[l]).value.value();
  return sum / static_cast<double>(g.size());
}

/// A source that has learned one network's gradients and is then shown another, with learning off and on.
struct Moved {
  double first = 0;  ///< Gamma on the network that it learned
  double off = 0;    ///< on the other one, not learning
  double on = 0;     ///< on the other one, learning
};

template <class Rule>
Moved moved_to_another_network(const Rule& rule, int steps) {
  auto& task = frozen_task();
  auto other = made_task(4);
  auto state = rule.bind(task.model, context());
  Moved moved;
  learn_frozen(state, task, steps);
  moved.first = mean_gamma(state, task);
  moved.off = mean_gamma(state, other);
  learn_frozen(state, other, steps);
  moved.on = mean_gamma(state, other);
  return moved;
}

}  // namespace creditlib::test
