// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/trace_of.hpp>
#include <vector>

#include "models.hpp"
#include "test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("trace_of gives what a trainer shows a rule: credit without a trainer is raw_credits", "[trace]") {
  for (const auto kind : every_kind) {
    if (kind == Kind::residual_mlp) continue;
    INFO("on " << name(kind));
    auto model = stages(kind);
    const auto [x, y] = batch_for(kind);
    LocalTrainer trainer(model, DFA{});

    torch::manual_seed(5);
    const auto expected = trainer.raw_credits(x, y);
    torch::manual_seed(5);
    auto credits = trainer.state().credit(model, trace_of(model, x, y));

    if (kind == Kind::no_embed) credits[0] = torch::Tensor();  // nothing reads it
    CHECK(same(credits, expected));
  }
}

TEST_CASE("trace_of has the right to pull back, and the objective", "[trace]") {
  auto model = residual_mlp(torch::kFloat64);
  const auto x = small_batch(torch::kFloat64).x, y = torch::randn({x.size(0), small_classes}, torch::kFloat64);

  const auto trace = trace_of(model, x, y, SquaredError{});

  CHECK(distance(Oracle{}.credit(model, trace), diagnostics::true_gradients(model, x, y, SquaredError{})) < 1e-12);
  CHECK(torch::equal(trace.error, SquaredError{}.error(trace.logits, y)));
  CHECK(torch::equal(trace.input, x));
  CHECK(torch::equal(trace.target, y));
}

TEST_CASE("trace_of changes neither running statistics nor torch's generator nor gradients", "[trace]") {
  for (const auto kind : {Kind::batch_norm, Kind::dropout}) {
    INFO("on " << name(kind));
    auto model = stages(kind);
    const auto [x, y] = batch_for(kind);
    const auto buffers = copies(model->buffers());
    const auto generator = global_generator_state();

    const auto trace = trace_of(model, x, y);
    trace.pullback(1, trace.loss_gradient());

    CHECK(same(model->buffers(), buffers));
    CHECK(torch::equal(global_generator_state(), generator));
    for (const auto& parameter : model->parameters()) CHECK_FALSE(parameter.grad().defined());
  }
}

TEST_CASE("trace_of is in the model's mode", "[trace]") {
  auto model = stages(Kind::dropout);
  const auto [x, y] = batch_for(Kind::dropout);
  model->eval();

  CHECK(torch::equal(trace_of(model, x, y).logits, model->forward(x)));
  CHECK_FALSE(model->is_training());
}

TEST_CASE("two traces of one model have graphs of their own", "[trace]") {
  auto model = residual_mlp();
  const auto first = small_batch(), second = batch_for(Kind::residual_mlp, torch::kFloat32, 3, 12);

  const auto a = trace_of(model, first.x, first.y), b = trace_of(model, second.x, second.y);

  CHECK(a.loss_gradient().size(0) == 7);
  CHECK(b.loss_gradient().size(0) == 3);
}

TEST_CASE("trace_of refuses what a trainer refuses", "[trace]") {
  auto model = residual_mlp();
  const auto [x, y] = small_batch();

  CHECK(says(error_of([&] { trace_of(model, x.to(torch::kFloat64), y); }),
             {"The batch x is (7, 6) float64 on cpu, but the model is float32 on cpu"}));
  CHECK(says(error_of([&] { trace_of(model, x, y.narrow(0, 0, 3)); }), {"The target is (3) int64 on cpu"}));
}
