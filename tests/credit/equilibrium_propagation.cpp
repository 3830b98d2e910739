#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/equilibrium_propagation.hpp>
#include <creditlib/detail/untouched.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/schedule/switch_at.hpp>

#include "../laws/laws.hpp"
#include "../rules.hpp"
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
  const creditlib::detail::Untouched untouched(*model, torch::kCPU);
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
  for (const double beta : {0.008, 0.004, 0.002, 0.001}) {
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

/// The factory's trainers take a rule's defaults.
struct CentredEquilibriumPropagation {
  template <class Model>
  EquilibriumPropagation::State bind(Model& model, const BindContext& context) const {
    return EquilibriumPropagation{.centred = true}.bind(model, context);
  }
};

}  // namespace

TEST_CASE("EP's parameter gradients come to back-propagation's in proportion to beta, centred to its square",
          "[credit]") {
  const auto batch = small_batch(torch::kFloat64);
  const EquilibriumPropagation one_sided{.steps = 600, .rate = 0.3},
      centred{.steps = 600, .rate = 0.3, .centred = true};
  const EquilibriumPropagation too_short{.steps = 3, .rate = 0.3};

  CHECK(slope_in_beta(smooth_stages(), batch, one_sided) == Approx(1).margin(0.1));
  CHECK(slope_in_beta(smooth_stages(), batch, centred) == Approx(2).margin(0.1));
  CHECK(slope_in_beta(smooth_residual_mlp(), batch, one_sided) == Approx(1).margin(0.1));
  CHECK(slope_in_beta(smooth_residual_mlp(), batch, centred) == Approx(2).margin(0.1));
  CHECK(std::abs(slope_in_beta(smooth_stages(), batch, too_short)) < 0.1);
}
