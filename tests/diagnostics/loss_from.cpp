// SPDX-License-Identifier: Apache-2.0
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/diagnostics/loss_from.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/scope/in_float64.hpp>

#include "../quadratic.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
using diagnostics::LossFrom;

TEST_CASE("the loss from a hidden state on is that of the matrices above it", "[diagnostics]") {
  auto net = quadratic();
  const LossFrom loss_from(net.model, net.x, net.y, SquaredError{});

  for (std::size_t l = 0; l < net.rest.size(); ++l) {
    INFO("h_" << l);
    const auto h = loss_from.hidden()[l] + 3 * torch::randn_like(loss_from.hidden()[l]);
    CHECK(distance(loss_from(static_cast<std::int64_t>(l), h), net.loss(l, h)) < 1e-13);
    CHECK(distance(loss_from.gradient(static_cast<std::int64_t>(l), h), net.gradient(l, h)) < 1e-13);
  }
}

TEST_CASE("the loss from an unmoved hidden state on is the batch's, in train mode too, and nothing is changed",
          "[diagnostics]") {
  for (const auto kind : every_kind) {
    INFO(name(kind));
    const auto check = [&](auto model) {
      const auto batch = batch_for(kind);
      torch::manual_seed(5);
      const ModuleState before(*model);
      const auto gradients = diagnostics::true_gradients(model, batch.x, batch.y);

      const LossFrom<decltype(model)> loss_from(model, batch.x, batch.y);

      for (std::int64_t l = 0; l <= model->blocks(); ++l) {
        const auto& h = loss_from.hidden()[static_cast<std::size_t>(l)];
        CHECK(torch::equal(loss_from(l, h), loss_from.losses()));
        CHECK(distance(loss_from.gradient(l, h), gradients[static_cast<std::size_t>(l)]) < 1e-5);
        CHECK_FALSE(torch::equal(loss_from(l, h + 1), loss_from.losses()));
      }
      CHECK(before == ModuleState(*model));
      CHECK(distance(loss_from.losses(), CrossEntropy{}.loss(model->forward(batch.x), batch.y)) < 1e-6);
      CHECK_FALSE(loss_from.losses().requires_grad());
    };
    kind == Kind::residual_mlp ? check(residual_mlp()) : check(stages(kind));
  }
}

TEST_CASE(
    "in float64 the loss from a hidden state on is that of the model's own dtype to its rounding, Dropout's masks "
    "included",
    "[diagnostics]") {
  for (const auto kind : {Kind::batch_norm, Kind::dropout, Kind::conv}) {
    INFO(name(kind));
    auto model = stages(kind);
    const auto batch = batch_for(kind);
    const LossFrom<SequentialBlocks> loss_from(model, batch.x, batch.y);
    const diagnostics::InFloat64 network(*model);

    for (std::int64_t l = 0; l <= model->blocks(); ++l) {
      const auto found = loss_from(l, loss_from.hidden()[static_cast<std::size_t>(l)].to(torch::kFloat64));
      CHECK(found.scalar_type() == torch::kFloat64);
      CHECK(distance(found, loss_from.losses()) < 1e-6);
    }
  }
}

TEST_CASE("a hidden state that does not exist or does not fit is refused", "[diagnostics]") {
  auto net = quadratic();
  const LossFrom loss_from(net.model, net.x, net.y, SquaredError{});

  CHECK(says(error_of([&] { loss_from(3, net.x); }), {"no h_3", "0..2"}));
  CHECK(says(error_of([&] { loss_from(1, net.x); }), {"h_1 is (9, 6)", "(9, 7)"}));
}
