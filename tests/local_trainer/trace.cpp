// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/raw.hpp>

#include "../models.hpp"
#include "../rules.hpp"
#include "../sources.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("a Trace is one forward pass, detached", "[trainer]") {
  auto model = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  LocalTrainer trainer(model, Captured<Oracle>{}, {}, {}, Raw{});
  const auto logits = model->forward(batch.x).detach();
  trainer.credits(batch.x, batch.y);
  const auto trace = trainer.state().traces->at(0);

  CHECK(trace.input.is_same(batch.x));
  CHECK(trace.target.is_same(batch.y));
  REQUIRE(trace.hidden.size() == 4);
  REQUIRE(trace.branch.size() == 3);
  CHECK(distance(trace.hidden[0], model->embed(batch.x)) < 1e-15);
  for (std::size_t l = 0; l < 3; ++l) {
    CHECK(distance(trace.branch[l], model->block(static_cast<std::int64_t>(l), trace.hidden[l])) < 1e-14);
    CHECK(distance(trace.hidden[l + 1], trace.hidden[l] + trace.branch[l]) < 1e-14);
    CHECK_FALSE(trace.branch[l].requires_grad());
    CHECK_FALSE(trace.hidden[l].requires_grad());
  }
  CHECK_FALSE(trace.logits.requires_grad());
  CHECK(distance(trace.logits, logits) < 1e-14);
  CHECK(distance(trace.error, plain_error(logits, batch.y)) < 1e-13);
  CHECK(distance(trace.loss_gradient(), trainer.raw_credits(batch.x, batch.y)[3]) < 1e-14);
}

TEST_CASE("what a Trace cannot give it refuses in a sentence", "[trainer]") {
  auto model = small_model();
  const auto batch = small_batch();
  LocalTrainer trainer(model, Captured<Oracle>{});
  LocalTrainer blind(model, Captured<FixedCredit>{{std::vector<torch::Tensor>(4, torch::zeros({7, 5}))}});
  trainer.credits(batch.x, batch.y);
  const auto trace = trainer.state().traces->at(0);
  blind.step(batch.x, batch.y);
  const auto released = blind.state().traces->at(0);
  const auto v = torch::ones({7, 5});

  CHECK(error_of([&] { trace.pullback(2, v); }) == "(nothing was thrown)");
  CHECK(says(error_of([&] { trace.pullback(3, v); }), {"block 3 does not exist", "0..2"}));
  CHECK(says(error_of([&] { trace.pullback(-1, v); }), {"block -1 does not exist"}));
  CHECK(says(error_of([&] { released.pullback(1, v); }), {"wants_pullback"}));
  CHECK(says(error_of([&] { released.loss_gradient(); }), {"consumed the graph"}));
  CHECK(says(error_of([&] { Trace().loss_gradient(); }), {"not made by a trainer"}));
}

TEST_CASE("pullback is the block's transposed Jacobian, also of one value a channel", "[trainer]") {
  for (const auto kind : {Kind::plain, Kind::conv, Kind::tokens}) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64);
    const auto batch = batch_for(kind, torch::kFloat64);
    LocalTrainer trainer(model, Captured<Oracle>{});
    trainer.credits(batch.x, batch.y);
    const auto trace = trainer.state().traces->at(0);

    for (std::size_t l = 0; l < trace.branch.size(); ++l) {
      const auto at = static_cast<std::int64_t>(l);
      const auto h = trace.hidden[l].clone().requires_grad_();
      const auto next = model->join(at, h, model->block(at, h));
      const auto v = spread(torch::randn({7, features(model->hidden_shape(at + 1))}, torch::kFloat64),
                            model->hidden_shape(at + 1));

      CHECK(distance(trace.pullback(at, v), torch::autograd::grad({(next * v).sum()}, {h})[0]) < 1e-12);
    }
  }
}
