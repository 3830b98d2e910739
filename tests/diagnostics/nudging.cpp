// SPDX-License-Identifier: Apache-2.0
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/diagnostics/loss_from.hpp>
#include <creditlib/diagnostics/nudging.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/scope/in_float64.hpp>

#include "../quadratic.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
using diagnostics::LossFrom;
using diagnostics::Precision;

TEST_CASE("a nudge changes a quadratic loss by its gradient and half its curvature along the step", "[diagnostics]") {
  auto net = quadratic();
  const LossFrom loss_from(net.model, net.x, net.y, SquaredError{});
  const auto credits = some_credits(net);
  for (const bool relative : {false, true}) {
    const auto found = diagnostics::nudging(net.model, net.x, net.y, credits,
                                            {.etas = {0.3, 0.01}, .relative = relative}, SquaredError{});

    REQUIRE(found.size() == 3);
    for (std::size_t l = 0; l < 3; ++l) {
      const auto& h = loss_from.hidden()[l];
      const auto g = net.gradient(l, h);
      const auto by = [&](const torch::Tensor& a, double eta) {
        auto u = a / a.norm(2, 1, true);
        if (relative) u = u * h.norm(2, 1, true);
        return (-eta * (g * u).sum(1) + eta * eta / 2 * u.mm(net.rest[l].t()).square().sum(1)).mean().item<double>();
      };
      REQUIRE(found[l].size() == 2);
      for (const auto& nudge : found[l]) {
        INFO("h_" << l << ", eta " << nudge.eta);
        CHECK(*nudge.change.value == Approx(by(credits[l], nudge.eta)).epsilon(1e-9));
        CHECK(*nudge.backprop.value == Approx(by(g, nudge.eta)).epsilon(1e-9));
        CHECK(nudge.change.interval->contains(*nudge.change.value));
      }
      CHECK(found[l][0].eta == 0.3);
      CHECK(*found[l][1].ratio.value == Approx(by(credits[l], 0.01) / by(g, 0.01)).epsilon(1e-9));
    }
  }
}

TEST_CASE("the nudge of a float32 network with exact credit of any scale has the ratio 1", "[diagnostics]") {
  auto model = small_model();
  const auto batch = small_batch();
  auto credits = diagnostics::true_gradients(model, batch.x, batch.y);
  for (auto& a : credits) a = a * 1e-12;

  const ModuleState before(*model);
  const auto found = diagnostics::nudging(model, batch.x, batch.y, credits);

  for (const auto& here : found) {
    CHECK(here[0].eta == 0.01);
    CHECK(here[1].eta == 0.003);
    for (const auto& nudge : here) {
      CHECK(*nudge.change.value < 0);
      CHECK(*nudge.ratio.value == Approx(1).epsilon(1e-5));
    }
    CHECK(*here[0].change.value / *here[1].change.value == Approx(10. / 3).epsilon(0.05));
  }
  CHECK(before == ModuleState(*model));
}

TEST_CASE("nudging in the model's own dtype runs it there", "[diagnostics]") {
  auto model = small_model();
  const auto batch = small_batch();
  const auto credits = diagnostics::true_gradients(model, batch.x, batch.y);

  const auto own = diagnostics::nudging(model, batch.x, batch.y, credits, {.precision = Precision::Model});
  const auto wide = diagnostics::nudging(model, batch.x, batch.y, credits);

  CHECK(*own[1][0].change.value == Approx(*wide[1][0].change.value).epsilon(1e-3));
  CHECK(*own[1][0].change.value != *wide[1][0].change.value);
}

TEST_CASE("nudging leaves out samples without a direction and says so where there is none", "[diagnostics]") {
  auto net = quadratic();
  auto credits = some_credits(net);
  const auto nudge = [&](const std::vector<torch::Tensor>& given) {
    return diagnostics::nudging(net.model, net.x, net.y, given, {.etas = {0.1}}, SquaredError{});
  };
  auto some = credits;
  some[1] = credits[1].clone();
  some[1].slice(0, 0, 4).zero_();
  const LossFrom loss_from(net.model, net.x, net.y, SquaredError{});
  const auto& h = loss_from.hidden()[1];
  const auto u = credits[1] / credits[1].norm(2, 1, true);
  const auto kept = (net.loss(1, h - 0.1 * u) - net.loss(1, h)).slice(0, 4);

  CHECK(*nudge(some)[1][0].change.value == Approx(kept.mean().item<double>()));
  credits[0].reset();
  credits[1].zero_();
  const auto none = nudge(credits);
  CHECK(none[0][0].change.reason == "there is no credit here");
  CHECK(none[0][0].backprop.value);
  CHECK_FALSE(none[0][0].ratio.value);
  CHECK_FALSE(none[1][0].change.value);
  CHECK(none[1][0].change.reason == "the credit of every sample is 0 or not finite");
  CHECK(none[1][0].ratio.reason == "no sample has both a credit and a gradient");
}

TEST_CASE("there is no ratio where a step of back-propagation does not lower the loss", "[diagnostics]") {
  auto net = quadratic();
  const auto found = diagnostics::nudging(net.model, net.x, net.y, some_credits(net), {.etas = {1e4}}, SquaredError{});

  CHECK(*found[1][0].backprop.value > 0);
  CHECK_FALSE(found[1][0].ratio.value);
  CHECK(found[1][0].ratio.reason == "back-propagation's own step does not lower the loss");
  CHECK(says(error_of([&] {
               diagnostics::nudging(net.model, net.x, net.y, some_credits(net), {.etas = {-1}}, SquaredError{});
             }),
             {"an eta is -1"}));
}
