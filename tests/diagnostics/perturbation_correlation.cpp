// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/diagnostics/loss_from.hpp>
#include <creditlib/diagnostics/perturbation_correlation.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/statistics/seeded.hpp>

#include "../quadratic.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
using diagnostics::Difference;
using diagnostics::LossFrom;
using diagnostics::PerturbationOptions;

namespace {

/// The directions that pairs are made of: with the credit e_j for every sample, <a, v> is v's element j. (B, M, d)
torch::Tensor directions(const LossFrom<SequentialBlocks, SquaredError>& loss_from, std::int64_t l,
                         const PerturbationOptions& options) {
  const auto& h = loss_from.hidden()[static_cast<std::size_t>(l)];
  std::vector<torch::Tensor> elements;
  for (std::int64_t j = 0; j < h.size(1); ++j) {
    const auto basis = torch::zeros_like(h).index_fill_(1, torch::full({1}, j, torch::kInt64), 1);
    elements.push_back(diagnostics::perturbation_pairs(loss_from, l, h, basis, options).projected);
  }
  return at::stack(elements, 2);
}

/// Pearson's correlation by its definition, one number at a time.
double pearson(const torch::Tensor& x, const torch::Tensor& y) {
  const auto u = x.reshape({-1}).to(torch::kFloat64), w = y.reshape({-1}).to(torch::kFloat64);
  double mean_u = 0, mean_w = 0, uu = 0, ww = 0, uw = 0;
  for (std::int64_t i = 0; i < u.numel(); ++i) {
    mean_u += u[i].item<double>() / u.numel(), mean_w += w[i].item<double>() / w.numel();
  }
  for (std::int64_t i = 0; i < u.numel(); ++i) {
    const double du = u[i].item<double>() - mean_u, dw = w[i].item<double>() - mean_w;
    uu += du * du, ww += dw * dw, uw += du * dw;
  }
  return uw / std::sqrt(uu * ww);
}

}  // namespace

TEST_CASE("directions have unit length, differ, and are the same for the same seed and stream", "[diagnostics]") {
  const auto like = torch::zeros({50, 3, 4, 4});
  const auto draw = [&](std::uint64_t seed, std::uint64_t stream) {
    return diagnostics::unit_directions(like, diagnostics::seeded(seed, stream));
  };
  const auto global = global_generator_state();
  const auto v = draw(1, 2);

  CHECK(v.sizes() == like.sizes());
  CHECK((v.flatten(1).norm(2, 1) - 1).abs().max().item<double>() < 1e-6);
  CHECK(torch::equal(v, draw(1, 2)));
  CHECK_FALSE(torch::equal(v, draw(2, 2)));
  CHECK_FALSE(torch::equal(v, draw(1, 1)));
  // Uniform: 50 directions in 48 dimensions have a mean of squared length 1/50 about.
  CHECK(v.flatten(1).mean(0).square().sum().item<double>() == Approx(0.02).epsilon(0.4));
  CHECK(torch::equal(global, global_generator_state()));
}

TEST_CASE("a central difference of a quadratic loss is its gradient along the direction, at any step",
          "[diagnostics]") {
  auto net = quadratic();
  const LossFrom loss_from(net.model, net.x, net.y, SquaredError{});
  const auto credits = some_credits(net);
  for (const bool relative : {false, true}) {
    for (std::int64_t l = 0; l <= 2; ++l) {
      INFO("h_" << l << (relative ? ", relative step" : ""));
      const PerturbationOptions options{.directions = 6, .epsilon = 0.7, .relative = relative, .seed = 4};
      const auto at = static_cast<std::size_t>(l);
      const auto& h = loss_from.hidden()[at];
      const auto v = directions(loss_from, l, options);

      const auto pairs = diagnostics::perturbation_pairs(loss_from, l, h, credits[at], options);

      CHECK(distance(pairs.projected, (v * credits[at].unsqueeze(1)).sum(2)) < 1e-12);
      CHECK(distance(pairs.change, (v * net.gradient(at, h).unsqueeze(1)).sum(2)) < 1e-11);
    }
  }
}

TEST_CASE("a forward difference of a quadratic loss has half the curvature times the step beside the gradient",
          "[diagnostics]") {
  auto net = quadratic();
  const LossFrom loss_from(net.model, net.x, net.y, SquaredError{});
  for (const bool relative : {false, true}) {
    const PerturbationOptions options{
        .directions = 6, .epsilon = 0.7, .relative = relative, .difference = Difference::Forward, .seed = 4};
    const auto& h = loss_from.hidden()[1];
    const auto v = directions(loss_from, 1, options);
    const auto step = relative ? 0.7 * h.norm(2, 1, true) : torch::full({h.size(0), 1}, 0.7, torch::kFloat64);

    const auto pairs = diagnostics::perturbation_pairs(loss_from, 1, h, h, options);

    const auto curvature = v.matmul(net.rest[1].t()).square().sum(2);
    CHECK(distance(pairs.change, (v * net.gradient(1, h).unsqueeze(1)).sum(2) + step * curvature / 2) < 1e-12);
  }
}

TEST_CASE("rho is Pearson's correlation of the pairs by its definition", "[diagnostics]") {
  auto net = quadratic();
  const LossFrom loss_from(net.model, net.x, net.y, SquaredError{});
  const auto credits = some_credits(net);
  const PerturbationOptions options{.seed = 9};

  const auto found = diagnostics::perturbation_correlation(net.model, net.x, net.y, credits, options, SquaredError{});

  REQUIRE(found.size() == 3);
  for (std::size_t l = 0; l < 3; ++l) {
    const auto pairs = diagnostics::perturbation_pairs(loss_from, static_cast<std::int64_t>(l), loss_from.hidden()[l],
                                                       credits[l], options);
    CHECK(found[l].rho.value.value() == Approx(pearson(pairs.projected, pairs.change)).epsilon(1e-9));
    CHECK(found[l].rho.interval->contains(*found[l].rho.value));
    CHECK(*found[l].changed.value == 1);
    CHECK(found[l].pairs == 16 * 9);
  }
}

TEST_CASE("rho of the true gradient is 1, of its opposite -1, and for many directions the norm-weighted cosine",
          "[diagnostics]") {
  auto net = quadratic(torch::kFloat32);
  auto gradients = diagnostics::true_gradients(net.model, net.x, net.y, SquaredError{});
  const auto rho = [&](const std::vector<torch::Tensor>& credits, const PerturbationOptions& options = {}) {
    std::vector<double> values;
    for (const auto& found :
         diagnostics::perturbation_correlation(net.model, net.x, net.y, credits, options, SquaredError{})) {
      values.push_back(found.rho.value.value());
    }
    return values;
  };
  const auto credits = some_credits(net, torch::kFloat32);

  for (const double value : rho(gradients)) CHECK(value > 1 - 1e-9);
  for (auto& g : gradients) g = -3 * g;
  for (const double value : rho(gradients)) CHECK(value < -1 + 1e-9);
  const auto many = rho(credits, {.directions = 2000});
  for (std::size_t l = 0; l < 3; ++l) {
    const auto a = credits[l].to(torch::kFloat64), g = -gradients[l].to(torch::kFloat64) / 3;
    CHECK(many[l] ==
          Approx((a * g).sum().item<double>() / (a.norm() * g.norm()).item<double>()).margin(4 / std::sqrt(2000. * 9)));
  }
}

TEST_CASE("rho in float64 sees what the scripts' way cannot where |h| is 1e8", "[diagnostics]") {
  torch::manual_seed(3);
  auto model = ResidualMLP({.input = 6, .width = 32, .classes = 4, .blocks = 2});
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->embed_parameters()) parameter.mul_(1e8);
  }
  const auto batch = batch_for(Kind::residual_mlp, torch::kFloat32, 24);
  const auto gradients = diagnostics::true_gradients(model, batch.x, batch.y);

  const auto ours = diagnostics::perturbation_correlation(model, batch.x, batch.y, gradients, {.relative = true});
  const auto absolute = diagnostics::perturbation_correlation(model, batch.x, batch.y, gradients);
  const auto script =
      diagnostics::perturbation_correlation(model, batch.x, batch.y, gradients, PerturbationOptions::script());

  for (std::size_t l = 0; l < 3; ++l) {
    CHECK(*ours[l].rho.value > 0.999);
    CHECK(*ours[l].changed.value == 1);
    CHECK(*absolute[l].rho.value > 0.999);
    CHECK(std::abs(script[l].rho.value.value_or(0)) < 0.3);
    CHECK(script[l].changed.value.value_or(0) < 0.9);
  }
}

TEST_CASE("the scripts' rho is that of float32 losses on one side", "[diagnostics]") {
  auto net = quadratic(torch::kFloat32);
  const LossFrom loss_from(net.model, net.x, net.y, SquaredError{});
  const auto credits = some_credits(net, torch::kFloat32);

  const auto found = diagnostics::perturbation_correlation(net.model, net.x, net.y, credits,
                                                           PerturbationOptions::script(6), SquaredError{});

  for (std::size_t l = 0; l < 3; ++l) {
    const auto& h = loss_from.hidden()[l];
    const auto generator = diagnostics::seeded(6, l);
    std::vector<torch::Tensor> projected, change;
    for (int m = 0; m < 16; ++m) {
      const auto v = diagnostics::unit_directions(h, generator);
      projected.push_back((credits[l] * (1e-3 * v)).sum(1));
      change.push_back(loss_from(static_cast<std::int64_t>(l), h + 1e-3 * v) - loss_from.losses());
    }
    CHECK(*found[l].rho.value == Approx(pearson(at::stack(projected), at::stack(change))).epsilon(1e-4));
  }
}

TEST_CASE("rho has no value, and says why, where there is nothing to correlate", "[diagnostics]") {
  auto net = quadratic();
  auto credits = some_credits(net);
  credits[0].reset();
  credits[1].zero_();
  credits[2].fill_(NAN);
  const auto found = diagnostics::perturbation_correlation(net.model, net.x, net.y, credits, {}, SquaredError{});

  CHECK_FALSE(found[0].rho.value);
  CHECK(found[0].rho.reason == "there is no credit here");
  CHECK_FALSE(found[1].rho.value);
  CHECK(found[1].rho.reason == "the credit along every direction is the same");
  CHECK_FALSE(found[2].rho.value);
  CHECK(found[2].rho.reason == "no sample has finite credit and loss changes");

  const torch::NoGradGuard no_grad;
  for (auto& parameter : net.model->readout_parameters()) parameter.zero_();
  const auto flat =
      diagnostics::perturbation_correlation(net.model, net.x, net.y, some_credits(net), {}, SquaredError{});
  CHECK_FALSE(flat[1].rho.value);
  CHECK(flat[1].rho.reason == "the loss change along every direction is the same");
  CHECK(*flat[1].changed.value == 0);
}

TEST_CASE("a sample without finite credit is left out of rho", "[diagnostics]") {
  auto net = quadratic();
  auto credits = some_credits(net);
  const auto all = diagnostics::perturbation_correlation(net.model, net.x, net.y, credits, {}, SquaredError{});
  credits[1][4][2] = INFINITY;

  const auto found = diagnostics::perturbation_correlation(net.model, net.x, net.y, credits, {}, SquaredError{});

  CHECK(found[1].pairs == 16 * 8);
  CHECK(found[1].rho.value.value() != *all[1].rho.value);
  CHECK(*found[0].rho.value == *all[0].rho.value);
}

TEST_CASE("rho draws from its seed alone and leaves everything as it was, on every model", "[diagnostics]") {
  for (const auto kind : every_kind) {
    INFO(name(kind));
    const auto check = [&](auto model) {
      const auto batch = batch_for(kind);
      LocalTrainer trainer(model, DFA{}, {.seed = 3});
      const auto credits = trainer.raw_credits(batch.x, batch.y);
      const ModuleState before(*model);
      const auto rho = [&](const PerturbationOptions& options) {
        return diagnostics::perturbation_correlation(model, batch.x, batch.y, credits, options);
      };

      const auto found = rho({.seed = 1}), again = rho({.seed = 1}), other = rho({.seed = 2});

      CHECK(before == ModuleState(*model));
      REQUIRE(found.size() == credits.size());
      for (std::size_t l = 0; l < found.size(); ++l) {
        REQUIRE(found[l].rho.value.has_value() == credits[l].defined());
        if (!credits[l].defined()) continue;
        CHECK(*found[l].rho.value == *again[l].rho.value);
        CHECK(*found[l].rho.value != *other[l].rho.value);
      }
    };
    kind == Kind::residual_mlp ? check(residual_mlp()) : check(stages(kind));
  }
}

TEST_CASE("rho of a credit of one value a channel is that of the credit spread out", "[diagnostics]") {
  auto model = stages(Kind::conv);
  model->eval();
  const auto batch = batch_for(Kind::conv);
  LocalTrainer trainer(model, DFA{}, {.seed = 3});
  const auto credits = trainer.raw_credits(batch.x, batch.y);
  const auto hidden = diagnostics::hidden_states(model, batch.x);
  std::vector<torch::Tensor> spread;
  for (std::size_t l = 0; l < credits.size(); ++l) spread.push_back(credits[l].expand_as(hidden[l]).contiguous());

  const auto found = diagnostics::perturbation_correlation(model, batch.x, batch.y, credits);
  const auto expected = diagnostics::perturbation_correlation(model, batch.x, batch.y, spread);

  CHECK(credits[1].size(2) == 1);
  for (std::size_t l = 0; l < credits.size(); ++l) CHECK(*found[l].rho.value == *expected[l].rho.value);
}

TEST_CASE("intervals of rho hold the true correlation about as often as they say", "[diagnostics]") {
  torch::manual_seed(8);
  int bootstrap = 0, fisher = 0;
  double width = 0;
  for (int i = 0; i < 300; ++i) {
    const auto x = torch::randn({40, 4}, torch::kFloat64);
    const auto y = 0.6 * x + 0.8 * torch::randn({40, 4}, torch::kFloat64);
    const auto drawn = diagnostics::pooled_correlation({x, y}, {.bootstrap = {.resamples = 400, .level = 0.9}});
    const auto formula = diagnostics::pooled_correlation(
        {x, y}, {.interval = diagnostics::CorrelationInterval::Fisher, .bootstrap = {.level = 0.9}});
    bootstrap += drawn.rho.interval->contains(0.6);
    fisher += formula.rho.interval->contains(0.6);
    width += (drawn.rho.interval->high - drawn.rho.interval->low) /
             (formula.rho.interval->high - formula.rho.interval->low) / 300;
  }

  // Four deviations of 300 tosses of .9 are .07; percentile intervals of 40 samples are a little narrow.
  CHECK(bootstrap / 300. == Approx(0.88).margin(0.07));
  CHECK(fisher / 300. == Approx(0.9).margin(0.07));
  CHECK(width == Approx(1).epsilon(0.08));
}

TEST_CASE("the interval of rho is that of correlations of samples drawn again", "[diagnostics]") {
  torch::manual_seed(8);
  const auto of_sample = 3 * torch::randn({12, 1}, torch::kFloat64);
  const auto x = of_sample + torch::randn({12, 5}, torch::kFloat64) + 7;
  const auto y = of_sample.square() + torch::randn({12, 5}, torch::kFloat64) - 4;
  const diagnostics::Bootstrap bootstrap{.resamples = 60, .seed = 2};
  const auto expected = diagnostics::bootstrap_interval(12, bootstrap, [&](const torch::Tensor& counts) {
    auto values = torch::empty({counts.size(0)}, torch::kFloat64);
    for (std::int64_t r = 0; r < counts.size(0); ++r) {
      const auto index = counts[r].to(torch::kInt64);
      values[r] = pearson(x.repeat_interleave(index, 0), y.repeat_interleave(index, 0));
    }
    return values;
  });

  const auto found = diagnostics::pooled_correlation({x, y}, {.bootstrap = bootstrap});

  CHECK(*found.rho.value == Approx(pearson(x, y)).epsilon(1e-10));
  CHECK(found.rho.interval->low == Approx(expected->low).epsilon(1e-10));
  CHECK(found.rho.interval->high == Approx(expected->high).epsilon(1e-10));
}

TEST_CASE("the interval of rho counts a sample's directions together", "[diagnostics]") {
  torch::manual_seed(8);
  const auto x = torch::randn({30, 1}, torch::kFloat64), y = 0.5 * x + torch::randn({30, 1}, torch::kFloat64);
  const auto one = diagnostics::pooled_correlation({x, y});

  const auto repeated = diagnostics::pooled_correlation({x.repeat({1, 16}), y.repeat({1, 16})});

  CHECK(*repeated.rho.value == Approx(*one.rho.value));
  CHECK(repeated.rho.interval->low == Approx(one.rho.interval->low));
  CHECK(repeated.rho.interval->high == Approx(one.rho.interval->high));
}

TEST_CASE("rho refuses options that cannot be meant and another number of credits", "[diagnostics]") {
  auto net = quadratic();
  const auto credits = some_credits(net);
  const auto error = [&](const std::vector<torch::Tensor>& given, const PerturbationOptions& options) {
    return error_of(
        [&] { diagnostics::perturbation_correlation(net.model, net.x, net.y, given, options, SquaredError{}); });
  };

  CHECK(says(error(credits, {.directions = 0}), {"directions is 0", "at least 1"}));
  CHECK(says(error(credits, {.epsilon = 0}), {"epsilon is 0"}));
  CHECK(says(error(credits, {.bootstrap = {.level = 1}}), {"level is 1"}));
  CHECK(says(error({credits[0]}, {}), {"1 credits", "expected 3"}));
}
