// SPDX-License-Identifier: Apache-2.0
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/diagnostics/ridge_control.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/statistics/seeded.hpp>

#include "../quadratic.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("the ridge control scores 1 where the gradient is linear in the error, at every hidden state",
          "[diagnostics]") {
  auto net = quadratic(torch::kFloat64, 60);
  const auto data = diagnostics::errors_and_gradients(
      net.model,
      std::vector{Batch{net.x.slice(0, 0, 25), net.y.slice(0, 0, 25)}, Batch{net.x.slice(0, 25), net.y.slice(0, 25)}},
      SquaredError{});
  REQUIRE(data.errors.sizes() == torch::IntArrayRef({60, 3}));
  const auto held_out = data.rows(torch::arange(40, 60));

  const auto found = diagnostics::ridge_control(data.rows(torch::arange(40)), held_out);

  REQUIRE(found.size() == 3);
  for (std::size_t l = 0; l < 3; ++l) {
    CHECK(*found[l].gamma.value == Approx(1).epsilon(1e-9));
    CHECK(found[l].regularisation == 1e-8);
    CHECK(distance(found[l].weights, net.rest[l]) < 1e-6);
    CHECK(distance(found[l].credit(held_out.errors, held_out.gradients[l]), held_out.gradients[l]) < 1e-6);
  }
}

TEST_CASE(
    "the ridge control is the regression by its normal equations, its regularisation the best on the validation part",
    "[diagnostics]") {
  torch::manual_seed(12);
  const auto draw = [&](std::int64_t n) {
    diagnostics::ErrorsAndGradients data{torch::randn({n, 8}, torch::kFloat64), {}};
    torch::manual_seed(13);
    const auto W = torch::randn({8, 12}, torch::kFloat64);
    torch::manual_seed(static_cast<std::uint64_t>(n));
    data.gradients.push_back((data.errors.mm(W) + 6 * torch::randn({n, 12}, torch::kFloat64)).view({n, 3, 2, 2}));
    return data;
  };
  const auto training = draw(20), held_out = draw(200);
  const diagnostics::RidgeOptions options{.regularisations = {1e-4, 3e-2, 0.3, 1, 100}, .validation = 0.3, .seed = 5};
  const auto solve = [](const torch::Tensor& e, const torch::Tensor& g, double r) {
    const auto scale = e.square().sum() / e.size(1);
    return at::linalg_inv(e.t().mm(e) + r * scale * torch::eye(8, torch::kFloat64)).mm(e.t()).mm(g.flatten(1));
  };
  const auto gamma = [](const torch::Tensor& a, const torch::Tensor& g) {
    return ((a * g.flatten(1)).sum(1) / (a.norm(2, 1) * g.flatten(1).norm(2, 1))).mean().item<double>();
  };

  const auto found = diagnostics::ridge_control(training, held_out, options)[0];

  const auto order = at::randperm(20, diagnostics::seeded(5), torch::kInt64);
  const auto validation = training.rows(order.slice(0, 0, 6)), fitted = training.rows(order.slice(0, 6));
  double best = -2, chosen = 0, worst = 2;
  for (const double r : options.regularisations) {
    const double value =
        gamma(validation.errors.mm(solve(fitted.errors, fitted.gradients[0], r)), validation.gradients[0]);
    worst = std::min(worst, value);
    if (value > best) best = value, chosen = r;
  }
  REQUIRE(best - worst > 0.02);
  CHECK(found.regularisation == chosen);
  CHECK(distance(found.weights, solve(training.errors, training.gradients[0], chosen)) < 1e-10);
  CHECK(*found.gamma.value == Approx(gamma(held_out.errors.mm(found.weights), held_out.gradients[0])));
  CHECK(found.gamma.interval->contains(*found.gamma.value));
  CHECK(found.credit(held_out.errors, held_out.gradients[0]).sizes() == held_out.gradients[0].sizes());
  // Held-out samples are not fitted to.
  auto other = held_out;
  other.gradients[0] = -other.gradients[0];
  const auto again = diagnostics::ridge_control(training, other, options)[0];
  CHECK(torch::equal(again.weights, found.weights));
  CHECK(*again.gamma.value == Approx(-*found.gamma.value));
}

TEST_CASE(
    "the ridge control scores about 0 where the gradient has nothing to do with the error, and says where it cannot "
    "fit",
    "[diagnostics]") {
  torch::manual_seed(12);
  const auto noise = [](std::int64_t n) {
    return diagnostics::ErrorsAndGradients{torch::randn({n, 4}),
                                           {torch::randn({n, 30}), torch::full({n, 2}, NAN), torch::randn({n, 2})}};
  };
  auto held_out = noise(400);
  held_out.gradients[2].zero_();

  const auto found = diagnostics::ridge_control(noise(400), held_out);

  CHECK(std::abs(*found[0].gamma.value) < 0.04);
  CHECK_FALSE(found[1].gamma.value);
  CHECK(found[1].gamma.reason == "the errors or gradients to fit are 0 or not finite");
  CHECK(found[2].gamma.reason == "the gradient of every held-out sample is 0 or not finite");
  CHECK(says(error_of([&] { diagnostics::ridge_control(noise(1), noise(3)); }), {"1 training samples"}));
  CHECK(says(error_of([&] { diagnostics::ridge_control(noise(9), noise(3), {.regularisations = {0}}); }),
             {"regularization is 0"}));
  CHECK(
      says(error_of([&] { diagnostics::ridge_control(noise(9), noise(3), {.validation = 1}); }), {"validation is 1"}));
  CHECK(says(error_of([&] { diagnostics::ridge_control(noise(9), {torch::ones({3, 4}), {}}); }),
             {"3 hidden states", "at 0"}));
}

TEST_CASE("errors and gradients are those of each batch, and nothing is changed", "[diagnostics]") {
  auto model = stages(Kind::batch_norm);
  const auto batch = batch_for(Kind::batch_norm);
  const ModuleState before(*model);

  const auto found = diagnostics::errors_and_gradients(model, std::vector{batch, batch});

  CHECK(before == ModuleState(*model));
  const auto gradients = diagnostics::true_gradients(model, batch.x, batch.y);
  REQUIRE(found.gradients.size() == gradients.size());
  for (std::size_t l = 0; l < gradients.size(); ++l) {
    CHECK(torch::equal(found.gradients[l], at::cat({gradients[l], gradients[l]})));
  }
  const auto logits = model->forward(batch.x).detach();
  CHECK(distance(found.errors.slice(0, 7), CrossEntropy{}.error(logits, batch.y)) < 1e-6);
  CHECK_THROWS_AS(diagnostics::errors_and_gradients(model, std::vector<Batch>{}), Error);
}
