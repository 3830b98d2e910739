// SPDX-License-Identifier: Apache-2.0
#include <creditlib/diagnostics/cosine.hpp>
#include <creditlib/diagnostics/norm_matched.hpp>
#include <creditlib/diagnostics/parameter_gradients.hpp>
#include <creditlib/objective/squared_error.hpp>

#include "../quadratic.hpp"
#include "../test.hpp"
#include "written_out.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("norm-matched gradients have back-propagation's direction and the credit's length, sample by sample",
          "[diagnostics]") {
  torch::manual_seed(2);
  auto a = torch::randn({5, 3, 1, 1}), g = torch::randn({5, 3, 4, 4}) * 1e-20;
  a[1].zero_();
  g[2].zero_();

  const auto found = diagnostics::norm_matched(a, g);

  CHECK(found.sizes() == g.sizes());
  const auto lengths = a.flatten(1).norm(2, 1) * 4;
  for (const int i : {0, 1, 3, 4}) {
    CHECK(found[i].norm().item<double>() == Approx(lengths[i].item<double>()).epsilon(1e-6));
    if (i != 1) CHECK(*diagnostics::cosine(found[i], g[i]).value == Approx(1).epsilon(1e-6));
  }
  CHECK(found[2].abs().sum().item<double>() == 0);
}

TEST_CASE("norm-matched parameter gradients have the rule's norm in each part, or on the whole", "[diagnostics]") {
  auto model = std::make_shared<UnorderedImpl>();
  torch::manual_seed(2);
  const std::vector<torch::Tensor> rule{torch::randn({3, 2}), torch::randn({2, 2}), torch::randn({2, 2})};
  const std::vector<torch::Tensor> backprop{torch::randn({3, 2}), torch::randn({2, 2}), torch::zeros({2, 2})};

  const auto parts = diagnostics::norm_matched(model, rule, backprop);
  const auto whole = diagnostics::norm_matched(model, rule, backprop, diagnostics::Matching::Whole);

  for (const int i : {0, 1}) {
    CHECK(parts[i].norm().item<double>() == Approx(rule[i].norm().item<double>()).epsilon(1e-6));
    CHECK(*diagnostics::cosine(parts[i], backprop[i]).value == Approx(1).epsilon(1e-6));
  }
  CHECK(parts[2].norm().item<double>() == 0);
  const auto norm = [](const std::vector<torch::Tensor>& gradients) {
    return diagnostics::gradient_norm(gradients, {0, 1, 2});
  };
  CHECK(norm(whole) == Approx(norm(rule)).epsilon(1e-6));
  CHECK(whole[0].norm().item<double>() / whole[1].norm().item<double>() ==
        Approx(backprop[0].norm().item<double>() / backprop[1].norm().item<double>()).epsilon(1e-6));
  CHECK_FALSE(diagnostics::norm_matched(model, {rule[0], torch::Tensor(), rule[2]}, backprop)[1].defined());
}

TEST_CASE("a norm-matched step changes a quadratic loss as the matrices say, and is taken back", "[diagnostics]") {
  auto net = quadratic();
  const auto other_x = torch::randn({4, 6}, torch::kFloat64), other_y = torch::randn({4, 3}, torch::kFloat64);
  const auto exact = diagnostics::parameter_gradients(net.model, net.x, net.y, SquaredError{});
  // The embed alone moves.
  const std::vector<torch::Tensor> update{torch::randn_like(exact[0]), {}, {}, {}};
  const auto E = net.model->embed_parameters()[0].detach();
  const auto matched = exact[0] * (update[0].norm() / exact[0].norm());
  const auto change = [&](const torch::Tensor& u) {
    const auto loss = [&](const torch::Tensor& weight) {
      return ((other_x.mm(weight.t()).mm(net.rest[0].t()) - other_y).square().sum() / 8).item<double>();
    };
    return loss(E - 0.01 * u) - loss(E);
  };
  const ModuleState before(*net.model);

  const auto found = diagnostics::norm_matched_step(net.model, update, net.x, net.y, other_x, other_y, 0.01,
                                                    diagnostics::Matching::EachPart, SquaredError{});

  CHECK(*found.rule.value == Approx(change(update[0])).epsilon(1e-9));
  CHECK(*found.backprop.value == Approx(change(matched)).epsilon(1e-9));
  CHECK(before == ModuleState(*net.model));
  const auto itself = diagnostics::norm_matched_step(net.model, exact, net.x, net.y, net.x, net.y, 1e-3,
                                                     diagnostics::Matching::Whole, SquaredError{});
  CHECK(*itself.rule.value < 0);
  CHECK(*itself.ratio.value == Approx(1));
  const auto far = diagnostics::norm_matched_step(net.model, exact, net.x, net.y, net.x, net.y, 1e3,
                                                  diagnostics::Matching::Whole, SquaredError{});
  CHECK(far.ratio.reason == "back-propagation's own step does not lower the loss");
}
