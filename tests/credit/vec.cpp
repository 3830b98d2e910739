// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/vec.hpp>
#include <set>
#include <tuple>

#include "../sources.hpp"
#include "../trace_of.hpp"
#include "by_hand.hpp"
#include "learners.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

const Vec& tiny = LearnsVec::tiny;

/// What Vec's loss is, number by number: of each sample alone, with the same draws.
std::vector<double> plain_losses(SequentialBlocks& model, const Vec::State& state, const Trace& trace,
                                 torch::Generator draws, bool relative) {
  const std::int64_t blocks = model->blocks(), B = trace.error.size(0);
  const auto estimate = [&](std::int64_t l, std::int64_t b) {
    const auto at = static_cast<std::size_t>(l);
    const double t = static_cast<double>(l) / static_cast<double>(blocks);
    return state.nets[state.net_of[at]]->forward(row(trace.hidden[at], b), t, row(trace.error, b)).view(-1);
  };
  double terminal = 0, matching = 0;
  const auto gradient = trace.loss_gradient().flatten(1);
  for (std::int64_t b = 0; b < B; ++b)
    terminal += (estimate(blocks, b) - gradient[b]).square().sum().item<double>() / B;

  const auto l =
      at::randint(static_cast<std::int64_t>(state.first), blocks, {1}, draws, torch::kInt64).item<std::int64_t>();
  const auto& h = trace.hidden[static_cast<std::size_t>(l)];
  for (std::int64_t m = 0; m < state.config.directions; ++m) {
    const auto drawn = at::randn(h.sizes(), draws, torch::kFloat32).to(torch::kFloat64);
    for (std::int64_t b = 0; b < B; ++b) {
      const auto v = row(drawn, b) / drawn[b].norm();
      const double eps = state.config.epsilon * (relative ? h[b].norm().item<double>() : 1);
      const double change = sample_loss(model, l, row(h, b) + eps * v, row(trace.target, b)) -
                            sample_loss(model, l, row(h, b) - eps * v, row(trace.target, b));
      const double projection = (estimate(l, b) * v.view(-1)).sum().item<double>();
      matching += std::pow(projection - change / (2 * eps), 2) / (B * state.config.directions);
    }
  }
  return {terminal, matching};
}

}  // namespace

TEST_CASE("Vec's losses are terminal and perturbation matching as defined", "[credit][vec]") {
  for (const auto kind : {Kind::plain, Kind::tokens, Kind::no_embed}) {
    for (const bool relative : {false, true}) {
      INFO("on " << name(kind) << (relative ? ", relative steps" : ""));
      auto model = stages(kind, torch::kFloat64);
      const auto bound = context(torch::kFloat64);
      auto rule = tiny;
      rule.relative = relative;
      auto state = rule.bind(model, bound);
      const auto trace = trace_of(model, batch_for(kind, torch::kFloat64));
      for (int repeat = 0; repeat < 3; ++repeat) {
        auto draws = generator(0);
        draws.set_state(bound.generator.get_state());

        const auto losses = state.losses(model, trace);

        const auto expected = plain_losses(model, state, trace, draws, relative);
        REQUIRE(losses.size() == 2);
        CHECK(losses[0].item<double>() == Approx(expected[0]).epsilon(1e-10));
        CHECK(losses[1].item<double>() == Approx(expected[1]).epsilon(1e-9));
      }
    }
  }
}

TEST_CASE("Vec draws every layer below the last that has an estimate", "[credit][vec]") {
  for (const auto& [kind, point, first] :
       {std::tuple(Kind::plain, CreditPoint::BlockOutput, 0), std::tuple(Kind::no_embed, CreditPoint::BlockOutput, 1),
        std::tuple(Kind::tokens, CreditPoint::BlockInput, 0)}) {
    auto model = stages(kind, torch::kFloat64);
    auto rule = tiny;
    rule.at = point;
    auto state = rule.bind(model, context(torch::kFloat64));
    const auto trace = trace_of(model, batch_for(kind, torch::kFloat64));

    CHECK(state.first == static_cast<std::size_t>(first));
    // Which layer was drawn shows in which net, and at which time, the loss depends on: the loss itself says it.
    std::set<std::int64_t> seen;
    for (int i = 0; i < 40; ++i) {
      auto draws = generator(0);
      draws.set_state(state.context.generator.get_state());
      const auto l = at::randint(first, model->blocks(), {1}, draws.clone(), torch::kInt64).item<std::int64_t>();
      seen.insert(l);
      CHECK(state.losses(model, trace)[1].item<double>() ==
            Approx(plain_losses(model, state, trace, draws, false)[1]).epsilon(1e-9));
    }
    CHECK(seen.size() == static_cast<std::size_t>(model->blocks() - first));
  }
}

TEST_CASE("Vec of one block that reads the input has the terminal matching alone", "[credit][vec]") {
  using namespace torch::nn;
  torch::manual_seed(1);
  SequentialBlocks model({.blocks = {Sequential(Linear(6, 5), GELU())},
                          .readout = Sequential(Linear(5, small_classes)),
                          .example = torch::zeros({1, 6})});
  const auto trace = trace_of(model, batch_for(Kind::no_embed));
  auto state = tiny.bind(model, context());
  const auto before = state.credit(model, trace);

  CHECK(state.losses(model, trace).size() == 1);
  state.learn(model, trace);

  CHECK(!before[0].defined());
  CHECK(!torch::equal(before[1], state.credit(model, trace)[1]));
}

TEST_CASE("Vec has one net for the hidden states of a shape", "[credit][vec]") {
  auto mlp = residual_mlp();
  auto plain = stages(Kind::plain);

  CHECK(tiny.bind(mlp, context()).nets.size() == 1);
  const auto state = tiny.bind(plain, context());
  CHECK(state.nets.size() == 3);
  CHECK(state.net_of == std::vector<std::size_t>{0, 0, 1, 2});
  CHECK(state.nets[1]->options().state == 8);
  CHECK(state.nets[1]->options().output == 8);
  CHECK(Vec{}.bind(mlp, context()).nets[0]->options().hidden == 256);
}

TEST_CASE("Vec's credit at l is the net's answer at time l/L, or at the block's input", "[credit][vec]") {
  auto model = residual_mlp(torch::kFloat64);
  const auto trace = trace_of(model, small_batch(torch::kFloat64));
  auto at_input = tiny;
  at_input.at = CreditPoint::BlockInput;
  const auto state = tiny.bind(model, context(torch::kFloat64)), below = at_input.bind(model, context(torch::kFloat64));

  const auto output = state.credit(model, trace), input = below.credit(model, trace);

  for (std::size_t l = 0; l < 4; ++l) {
    const auto answer = state.nets[0]->forward(trace.hidden[l], static_cast<double>(l) / 3, trace.error);
    CHECK(distance(output[l], answer) < 1e-14);
    if (l < 3) CHECK(distance(input[l + 1], answer) < 1e-14);
  }
  CHECK(torch::equal(input[0], input[1]));
}

TEST_CASE("Vec's two forward passes share their Dropout masks", "[credit][vec]") {
  auto model = stages(Kind::dropout, torch::kFloat64);
  const auto trace = trace_of(model, batch_for(Kind::dropout, torch::kFloat64));
  auto rule = tiny;
  rule.epsilon = 1e-7;

  auto state = rule.bind(model, context(torch::kFloat64));

  // With masks of their own the two losses differ by something like 1, and the slope is a million times that.
  for (int i = 0; i < 5; ++i) CHECK(state.losses(model, trace)[1].item<double>() < 1e3);
}

TEST_CASE("Vec's relative steps survive a hidden state of zeros and one that has grown", "[credit][vec]") {
  auto model = residual_mlp();
  auto trace = trace_of(model, small_batch());
  auto rule = tiny;
  rule.relative = true;
  auto state = rule.bind(model, context());

  for (auto& h : trace.hidden) h = torch::zeros_like(h);
  CHECK(state.losses(model, trace)[1].isfinite().item<bool>());

  // At |h| around 1e6 a step of 1e-3 is lost in float32: every target is 0 and the loss is that of the projections
  // alone.
  auto grown = residual_mlp();
  const torch::NoGradGuard no_grad;
  auto parameters = grown->embed_parameters();
  for (auto& parameter : parameters) parameter.mul_(1e6);
  const auto far = trace_of(grown, small_batch());
  auto absolute = tiny.bind(grown, context()), relative = rule.bind(grown, context());
  CHECK(absolute.losses(grown, far)[1].item<double>() != relative.losses(grown, far)[1].item<double>());
}
