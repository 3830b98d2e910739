// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/equilibrium_propagation.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <creditlib/scope/untouched.hpp>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

// Equilibrium propagation again, the long way: the whole energy on one graph at every step, gradients by autograd.

/// What the energy sums over l: the squared distance of each state from its prediction, (B).
template <class Model>
torch::Tensor energy(Model& model, const torch::Tensor& x, const std::vector<torch::Tensor>& states) {
  const auto half_square = [](const torch::Tensor& t) { return t.flatten(1).square().sum(1) / 2; };
  auto total = half_square(states[0] - model->embed(x));
  for (std::int64_t l = 0; l < model->blocks(); ++l) {
    const auto &below = states.at(static_cast<std::size_t>(l)), &above = states.at(static_cast<std::size_t>(l + 1));
    total = total + half_square(above - model->join(l, below, model->block(l, below)));
  }
  return total;
}

template <class Model>
std::vector<torch::Tensor> free_states(Model& model, const torch::Tensor& x) {
  std::vector<torch::Tensor> states{model->embed(x).detach()};
  for (std::int64_t l = 0; l < model->blocks(); ++l) {
    states.push_back(model->join(l, states.back(), model->block(l, states.back())).detach());
  }
  return states;
}

template <class Model, class Objective>
std::vector<torch::Tensor> relaxed(Model& model, const Batch& batch, const EquilibriumPropagation& rule, double beta,
                                   const Objective& objective) {
  const bool embed = !model->embed_parameters().empty();
  auto states = free_states(model, batch.x);
  for (std::int64_t step = 0; step < rule.steps; ++step) {
    for (auto& s : states) s = s.detach().requires_grad_();
    const auto total = energy(model, batch.x, states) + beta * objective.loss(model->readout(states.back()), batch.y);
    const auto forces = torch::autograd::grad({rule.inner_mean ? total.mean() : total.sum()}, states);
    const torch::NoGradGuard no_grad;
    for (std::size_t l = embed ? 0 : 1; l < states.size(); ++l) states[l] = states[l] - rule.rate * forces[l];
  }
  for (auto& s : states) s = s.detach();
  return states;
}

/// s_l - F_{l-1}(s_{l-1}), and for l = 0 s_0 - embed(x).
template <class Model>
std::vector<torch::Tensor> residuals(Model& model, const torch::Tensor& x, const std::vector<torch::Tensor>& states) {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> found{states[0] - model->embed(x)};
  for (std::int64_t l = 0; l < model->blocks(); ++l) {
    const auto& below = states.at(static_cast<std::size_t>(l));
    found.push_back(states.at(static_cast<std::size_t>(l + 1)) - model->join(l, below, model->block(l, below)));
  }
  return found;
}

struct Outcome {
  std::vector<torch::Tensor> credits, gradients, relative_nudge;
};

/// Credits, the step's parameter gradients, and the relative nudge.
template <class Model, class Objective>
Outcome the_long_way(Model& model, const Batch& batch, const EquilibriumPropagation& rule, const Objective& objective) {
  const creditlib::scope::Untouched untouched(*model, torch::kCPU);
  const auto size = static_cast<double>(batch.x.size(0));
  const auto free = free_states(model, batch.x), nudged = relaxed(model, batch, rule, rule.beta, objective);
  Outcome outcome;

  for (std::size_t l = 0; l < free.size(); ++l) {
    const auto ratio = (nudged[l] - free[l]).flatten(1).norm(2, 1) / free[l].flatten(1).norm(2, 1);
    outcome.relative_nudge.push_back(std::get<0>(ratio.sort())[(batch.x.size(0) - 1) / 2]);
  }

  const auto up = residuals(model, batch.x, nudged);
  const auto down = residuals(model, batch.x, relaxed(model, batch, rule, -rule.beta, objective));
  for (std::size_t l = 0; l < up.size(); ++l) {
    const auto a = rule.centred ? (down[l] - up[l]) / (2 * rule.beta) : -up[l] / rule.beta;
    outcome.credits.push_back(rule.outer_sum ? size * a : a);
  }
  if (model->embed_parameters().empty()) outcome.credits[0].reset();

  torch::Tensor loss =
      objective.loss(model->readout(rule.readout_at_nudged && !rule.centred ? nudged.back() : free.back()), batch.y)
          .mean();
  if (rule.centred) {
    const auto predicted = residuals(model, batch.x, free);
    auto h = model->embed(batch.x);
    for (std::size_t l = 0; l < up.size(); ++l) {
      loss = loss - (h * (up[l] - down[l])).sum() / (2 * rule.beta) / (rule.outer_sum ? 1 : size);
      const auto at = static_cast<std::int64_t>(l);
      if (at < model->blocks()) h = model->join(at, free[l], model->block(at, free[l]));
    }
  } else {
    const auto total = energy(model, batch.x, nudged) / rule.beta;
    loss = loss + (rule.outer_sum ? total.sum() : total.mean());
  }
  outcome.gradients = torch::autograd::grad({loss}, model->parameters(), {}, false, false, /*allow_unused=*/true);
  return outcome;
}

/// What of a trainer with this rule differs from the long way, or "".
template <class Model, class Objective = CrossEntropy>
std::string difference_from_the_long_way(Model model, const Batch& batch, const EquilibriumPropagation& rule,
                                         const EquilibriumPropagation& expected_rule, const Objective& objective = {}) {
  LocalTrainer trainer(model, rule, {}, {}, Raw{}, {}, objective);
  const auto expected = the_long_way(model, batch, expected_rule, objective);

  const auto credits = trainer.credits(batch.x, batch.y), gradients = trainer.gradients(batch.x, batch.y);
  trainer.step(batch.x, batch.y);

  // The credit of a layer that the nudge has hardly reached is the small difference of two large numbers.
  for (std::size_t l = 0; l < credits.size(); ++l) {
    if (distance(credits[l], expected.credits[l], 1e-2) > 1e-10) return "credit " + std::to_string(l);
  }
  if (distance(gradients, expected.gradients) > 1e-10) return "gradients";
  if (!same(gradients, gradients_of(*model))) return "a step's gradients";
  if (distance(trainer.state().relative_nudge, torch::stack(expected.relative_nudge)) > 1e-8) return "relative nudge";
  return "";
}

double relative_distance(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  double between = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    between += (a[i] - b[i]).square().sum().item<double>();
    size += b[i].square().sum().item<double>();
  }
  return std::sqrt(between / size);
}

/// The slope of log(distance of EP's parameter gradients to back-propagation's) over log(beta).
template <class Model>
double slope_in_beta(Model model, const Batch& batch, EquilibriumPropagation rule) {
  const auto exact = BackpropTrainer(model).gradients(batch.x, batch.y);
  std::vector<double> x, y;
  for (const double beta : {0.004, 0.002, 0.001, 0.0005}) {
    rule.beta = beta;
    LocalTrainer trainer(model, rule, {}, {}, Raw{});
    x.push_back(std::log(beta));
    y.push_back(std::log(relative_distance(trainer.gradients(batch.x, batch.y), exact)));
  }
  double mean_x = 0, mean_y = 0, above = 0, below = 0;
  for (std::size_t i = 0; i < x.size(); ++i) mean_x += x[i] / 4, mean_y += y[i] / 4;
  for (std::size_t i = 0; i < x.size(); ++i)
    above += (x[i] - mean_x) * (y[i] - mean_y), below += (x[i] - mean_x) * (x[i] - mean_x);
  return above / below;
}

/// Smooth models with weights near their initial ones, on which the states come to rest.
SequentialBlocks smooth_stages() {
  using namespace torch::nn;
  torch::manual_seed(3);
  auto model = SequentialBlocks(
      {.embed = Sequential(Linear(6, 8)),
       .blocks = {Sequential(Linear(8, 7), Tanh()), Sequential(Linear(7, 6), GELU()), Sequential(Linear(6, 5), Tanh())},
       .readout = Sequential(Linear(5, small_classes)),
       .example = torch::zeros({1, 6})});
  model->to(torch::kFloat64);
  return model;
}
ResidualMLP smooth_residual_mlp() {
  torch::manual_seed(3);
  auto model = ResidualMLP({.input = 6, .width = 5, .classes = small_classes, .blocks = 3});
  const torch::NoGradGuard no_grad;
  for (auto& parameter : model->parameters()) parameter.add_(torch::randn_like(parameter), 0.1);
  model->to(torch::kFloat64);
  return model;
}

struct NoCredit {
  std::vector<torch::Tensor> credit(auto&, const Trace& trace) const {
    std::vector<torch::Tensor> zeros;
    for (const auto& h : trace.hidden) zeros.push_back(torch::zeros_like(h));
    return zeros;
  }
};

}  // namespace

TEST_CASE("EP's parameter gradients come to back-propagation's in proportion to beta, centred to its square",
          "[credit]") {
  const auto batch = small_batch(torch::kFloat64);
  const EquilibriumPropagation one_sided{.steps = 800, .rate = 0.3},
      centred{.steps = 800, .rate = 0.3, .centred = true};
  const EquilibriumPropagation too_short{.steps = 3, .rate = 0.3};

  CHECK(slope_in_beta(smooth_stages(), batch, one_sided) == Approx(1).margin(0.1));
  CHECK(slope_in_beta(smooth_stages(), batch, centred) == Approx(2).margin(0.1));
  CHECK(slope_in_beta(smooth_residual_mlp(), batch, one_sided) == Approx(1).margin(0.1));
  CHECK(slope_in_beta(smooth_residual_mlp(), batch, centred) == Approx(2).margin(0.1));
  CHECK(std::abs(slope_in_beta(smooth_stages(), batch, too_short)) < 0.1);
}

TEST_CASE("EP's credits, gradients and nudge are those of the energy written out, under every option", "[credit]") {
  const EquilibriumPropagation rule{.beta = 0.7, .steps = 6, .rate = 0.2};
  std::vector<EquilibriumPropagation> rules(7, rule);
  rules[1].inner_mean = true;
  rules[2].outer_sum = true;
  rules[3].readout_at_nudged = false;
  rules[4].centred = true;
  rules[5].centred = rules[5].inner_mean = rules[5].outer_sum = true;
  rules[6].beta = -0.7;

  for (std::size_t i = 0; i < rules.size(); ++i) {
    INFO("rule " << i);
    const auto batch = small_batch(torch::kFloat64);
    CHECK(difference_from_the_long_way(small_model(torch::kFloat64), batch, rules[i], rules[i]) == "");
    for (const auto kind : every_kind) {
      if (kind == Kind::residual_mlp || kind == Kind::dropout) continue;
      INFO("on " << name(kind));
      const auto other = batch_for(kind, torch::kFloat64);
      CHECK(difference_from_the_long_way(stages(kind, torch::kFloat64), other, rules[i], rules[i]) == "");
    }
  }
  // No two of the rules are one.
  for (const std::size_t i : {1, 2, 4, 6}) {
    CHECK(difference_from_the_long_way(small_model(torch::kFloat64), small_batch(torch::kFloat64), rules[i], rule) ==
          "credit 0");
  }
  CHECK(difference_from_the_long_way(small_model(torch::kFloat64), small_batch(torch::kFloat64), rules[3], rule) ==
        "gradients");
}

TEST_CASE("EP nudges towards the trainer's objective", "[credit]") {
  torch::manual_seed(5);
  const Batch batch{small_batch(torch::kFloat64).x, torch::randn({7, small_classes}).to(torch::kFloat64)};
  const EquilibriumPropagation rule{.steps = 6, .rate = 0.2};

  CHECK(difference_from_the_long_way(small_model(torch::kFloat64), batch, rule, rule, SquaredError{}) == "");
}

TEST_CASE("after T steps EP's credit more than T states below the logits is exactly 0", "[credit]") {
  const auto reached = [](Kind kind, std::int64_t steps, bool centred, torch::Dtype dtype) {
    const auto batch = batch_for(kind, dtype);
    const EquilibriumPropagation rule{.steps = steps, .centred = centred};
    const auto credits = kind == Kind::residual_mlp
                             ? LocalTrainer(residual_mlp(dtype), rule).raw_credits(batch.x, batch.y)
                             : LocalTrainer(stages(kind, dtype), rule).raw_credits(batch.x, batch.y);
    std::vector<bool> moved;
    for (const auto& a : credits) moved.push_back(a.any().item<bool>());
    return moved;
  };

  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    for (const bool centred : {false, true}) {
      using Moved = std::vector<bool>;
      CHECK(reached(Kind::residual_mlp, 1, centred, dtype) == Moved{false, false, false, true});
      CHECK(reached(Kind::residual_mlp, 2, centred, dtype) == Moved{false, false, true, true});
      CHECK(reached(Kind::residual_mlp, 3, centred, dtype) == Moved{false, true, true, true});
      CHECK(reached(Kind::residual_mlp, 4, centred, dtype) == Moved{true, true, true, true});
      CHECK(reached(Kind::batch_norm, 1, centred, dtype) == Moved{false, false, true});
      CHECK(reached(Kind::batch_norm, 2, centred, dtype) == Moved{false, true, true});
      CHECK(reached(Kind::conv, 2, centred, dtype) == Moved{false, true, true});
    }
  }
}

TEST_CASE("where there is nothing to nudge EP's credit is exactly 0", "[credit]") {
  auto model = small_model(torch::kFloat64);
  const auto x = small_batch(torch::kFloat64).x;
  const auto target = model->forward(x).detach();
  LocalTrainer trainer(model, EquilibriumPropagation{}, {}, {}, Raw{}, {}, SquaredError{});

  const auto credits = trainer.credits(x, target);
  trainer.step(x, target);

  for (const auto& a : credits) CHECK(torch::equal(a, torch::zeros_like(a)));
  CHECK(torch::equal(trainer.state().relative_nudge, torch::zeros({4}, torch::kFloat64)));
  for (const auto& gradient : gradients_of(*model)) CHECK_FALSE(gradient.any().item<bool>());
}

TEST_CASE("EP's step updates running statistics once", "[credit]") {
  auto model = stages(Kind::batch_norm);
  LocalTrainer trainer(model, EquilibriumPropagation{});
  const auto batch = batch_for(Kind::batch_norm);
  trainer.step(batch.x, batch.y);
  std::int64_t updates = 0;
  for (const auto& buffer : model->named_buffers()) {
    if (buffer.key().find("num_batches_tracked") != std::string::npos) {
      CHECK(buffer.value().item<std::int64_t>() == 1);
      ++updates;
    }
  }
  CHECK(updates == 4);
}

TEST_CASE("EP's relative nudge is that of the last step", "[credit]") {
  const auto batch = small_batch();
  LocalTrainer trainer(small_model(), EquilibriumPropagation{});
  CHECK_FALSE(trainer.state().relative_nudge.defined());

  trainer.credits(batch.x, batch.y);
  trainer.gradients(batch.x, batch.y);
  CHECK_FALSE(trainer.state().relative_nudge.defined());
  trainer.step(batch.x, batch.y);
  const auto first = trainer.state().relative_nudge.clone();
  trainer.credits(batch.x.neg(), batch.y);
  CHECK(torch::equal(trainer.state().relative_nudge, first));
  trainer.step(batch.x.neg(), batch.y);
  CHECK_FALSE(torch::equal(trainer.state().relative_nudge, first));
}

TEST_CASE("the batch's mean as inner loss leaves a nudge that is smaller by the size of the batch", "[credit]") {
  const auto batch = small_batch(torch::kFloat64);
  const auto nudge_at_last = [&](bool inner_mean) {
    LocalTrainer trainer(small_model(torch::kFloat64), EquilibriumPropagation{.steps = 1, .inner_mean = inner_mean});
    trainer.step(batch.x, batch.y);
    return trainer.state().relative_nudge[3].item<double>();
  };

  CHECK(nudge_at_last(false) / nudge_at_last(true) == Approx(7).epsilon(1e-9));
}

TEST_CASE("in a Mix EP's states are those of the local step only where it has a weight", "[credit]") {
  const auto batch = small_batch();
  LocalTrainer mixed(small_model(), Mix{DFA{}, EquilibriumPropagation{}}, {.seed = 7}, SwitchAt{.epoch = 1}, Raw{});
  LocalTrainer dfa(small_model(), DFA{}, {.seed = 7}, {}, Raw{});
  LocalTrainer ep(small_model(), EquilibriumPropagation{}, {.seed = 7}, {}, Raw{});

  CHECK(same(mixed.gradients(batch.x, batch.y), dfa.gradients(batch.x, batch.y)));
  mixed.end_epoch();
  CHECK(same(mixed.gradients(batch.x, batch.y), ep.gradients(batch.x, batch.y)));
}

TEST_CASE("EP trains the blocks, not the readout alone", "[credit]") {
  const auto batch = batch_for(Kind::plain, torch::kFloat64, 32);
  const auto loss_after_training = [&](const auto& rule) {
    LocalTrainer trainer(smooth_stages(), rule, {.lr = 1e-2}, {}, Raw{});
    for (int i = 0; i < 60; ++i) trainer.step(batch.x, batch.y);
    return trainer.step(batch.x, batch.y).loss.template item<double>();
  };

  const double readout_alone = loss_after_training(NoCredit{});

  CHECK(loss_after_training(EquilibriumPropagation{.beta = 0.1, .rate = 0.2}) < 0.6 * readout_alone);
  CHECK(loss_after_training(EquilibriumPropagation{.beta = 0.1, .rate = 0.2, .centred = true}) < 0.6 * readout_alone);
}

TEST_CASE("EP refuses settings that cannot be meant", "[credit]") {
  const auto message = [](const EquilibriumPropagation& rule) {
    return error_of([&] { LocalTrainer(small_model(), rule); });
  };

  CHECK(message({.beta = -0.5, .steps = 1, .rate = 1e-9}) == "(nothing was thrown)");
  CHECK(says(message({.beta = 0}), {"EquilibriumPropagation: beta is 0, expected a finite number other than 0"}));
  CHECK(says(message({.beta = INFINITY}), {"beta is inf"}));
  CHECK(says(message({.beta = NAN}), {"beta is nan"}));
  CHECK(says(message({.steps = 0}), {"EquilibriumPropagation: steps is 0, expected at least 1"}));
  CHECK(says(message({.rate = 0}), {"EquilibriumPropagation: rate is 0, expected a finite number > 0"}));
  CHECK(says(message({.rate = -0.1}), {"rate is -0.1"}));
  CHECK(says(message({.rate = NAN}), {"rate is nan"}));
}

TEST_CASE("EP refuses a network with Dropout, and says which layer", "[credit]") {
  using namespace torch::nn;
  const auto message = [](const AnyModule& layer, bool train = true) {
    Sequential block(Linear(6, 6));
    block->push_back(layer);
    auto model = SequentialBlocks({.blocks = {Sequential(GELU()), block},
                                   .readout = Sequential(Linear(6, small_classes)),
                                   .example = torch::zeros({1, 6})});
    model->train(train);
    return error_of([&] { LocalTrainer(model, EquilibriumPropagation{}); });
  };

  CHECK(says(message(AnyModule(Dropout(0.4))),
             {"EquilibriumPropagation: blocks.1.1 is Dropout with p = 0.4", "another function", "set its p to 0"}));
  CHECK(says(message(AnyModule(Dropout(0.4)), /*train=*/false), {"blocks.1.1 is Dropout"}));
  CHECK(says(message(AnyModule(AlphaDropout(0.1))), {"blocks.1.1 is AlphaDropout with p = 0.1"}));
  CHECK(message(AnyModule(Dropout(0))) == "(nothing was thrown)");
  CHECK(message(AnyModule(Tanh())) == "(nothing was thrown)");
  CHECK(says(error_of([] { LocalTrainer(stages(Kind::dropout), EquilibriumPropagation{}); }),
             {"embed.1 is Dropout with p = 0.2"}));
}
