// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/value_net.hpp>
#include <creditlib/schedule/warmup.hpp>

#include "../sources.hpp"
#include "../trace_of.hpp"
#include "by_hand.hpp"
#include "learners.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

const ValueNet& tiny = LearnsValueNet::tiny;

/// V of net i at one sample, by a net of the state or a copy that follows it.
double value(const CreditNet& net, std::size_t i, std::size_t nets, const torch::Tensor& h, const torch::Tensor& e) {
  return net->forward(h, static_cast<double>(i) / static_cast<double>(nets), e).item<double>();
}

/// What the losses are, number by number, with the same draws.
std::vector<double> plain_losses(SequentialBlocks& model, const ValueNet::State& state, const Trace& trace,
                                 torch::Generator draws) {
  const auto& config = state.config;
  const std::int64_t B = trace.error.size(0), K = config.samples, blocks = model->blocks();
  const std::size_t N = state.nets.size();
  const double size = static_cast<double>(B);
  std::vector<double> losses(N);
  for (std::size_t i = 0; i < N; ++i) {
    const auto& h = trace.hidden[state.first + i];
    const auto own = [&](std::int64_t b) { return value(state.nets[i], i, N, row(h, b), row(trace.error, b)); };
    if (i + 1 == N) {
      for (std::int64_t b = 0; b < B; ++b) {
        const double loss = sample_loss(model, blocks, row(h, b), row(trace.target, b));
        losses[i] += std::pow(own(b) - loss, 2) / size;
      }
      continue;
    }
    const auto& above = trace.hidden[state.first + i + 1];
    const auto noise = at::randn({K, B, above[0].numel()}, draws, torch::kFloat32) * config.sigma;
    for (std::int64_t b = 0; b < B; ++b) {
      double mean = 0;
      for (std::int64_t k = 0; k < K; ++k) {
        const auto moved = row(above, b) + noise[k][b].view(above[b].sizes()).to(torch::kFloat64);
        mean += std::exp(-value(state.targets[i], i + 1, N, moved, row(trace.error, b)) / config.lambda) /
                static_cast<double>(K);
      }
      losses[i] += std::pow(own(b) + config.lambda * std::log(mean), 2) / size;
    }
  }
  return losses;
}

}  // namespace

TEST_CASE("ValueNet's losses are the true loss at the end and the soft minimum of the next below",
          "[credit][value_net]") {
  for (const auto kind : {Kind::plain, Kind::tokens, Kind::no_embed}) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64);
    const auto bound = context(torch::kFloat64);
    auto state = tiny.bind(model, bound);
    const auto trace = trace_of(model, batch_for(kind, torch::kFloat64));
    for (int repeat = 0; repeat < 3; ++repeat) {
      auto draws = generator(0);
      draws.set_state(bound.generator.get_state());

      const auto losses = state.losses(model, trace);

      const auto expected = plain_losses(model, state, trace, draws);
      REQUIRE(losses.size() == expected.size());
      CHECK(losses.size() == static_cast<std::size_t>(model->blocks()) + (kind == Kind::no_embed ? 0 : 1));
      for (std::size_t i = 0; i < losses.size(); ++i)
        CHECK(losses[i].item<double>() == Approx(expected[i]).epsilon(1e-10));
      state.learn(model, trace);  // so that nets and their copies part
    }
  }
}

TEST_CASE("ValueNet's terminal gradient matching adds the squared distance of gradients, by its weight",
          "[credit][value_net]") {
  auto model = stages(Kind::plain, torch::kFloat64);
  const auto trace = trace_of(model, batch_for(Kind::plain, torch::kFloat64));
  auto rule = tiny;
  const auto terminal_loss = [&](double weight) {
    rule.terminal_gradient_weight = weight;
    return rule.bind(model, context(torch::kFloat64)).losses(model, trace).back().item<double>();
  };
  const auto state = rule.bind(model, context(torch::kFloat64));

  // dV/dh_L and dloss/dh_L by finite differences.
  double squares = 0;
  const auto& h = trace.hidden.back();
  for (std::int64_t b = 0; b < h.size(0); ++b) {
    for (std::int64_t j = 0; j < h.size(1); ++j) {
      const auto step = torch::zeros_like(row(h, b));
      step[0][j] = 1e-5;
      const auto slope = [&](const auto& of) { return (of(row(h, b) + step) - of(row(h, b) - step)) / 2e-5; };
      const double v =
          slope([&](const torch::Tensor& at) { return value(state.nets[3], 3, 4, at, row(trace.error, b)); });
      const double g = slope([&](const torch::Tensor& at) { return sample_loss(model, 3, at, row(trace.target, b)); });
      squares += (v - g) * (v - g) / static_cast<double>(h.size(0));
    }
  }

  CHECK(terminal_loss(0.3) - terminal_loss(0) == Approx(0.3 * squares).epsilon(1e-6));
}

TEST_CASE("the copies that ValueNet's targets come from follow the nets after each step", "[credit][value_net]") {
  auto model = stages(Kind::plain);
  auto rule = tiny;
  rule.ema = 0.9;
  auto state = rule.bind(model, context());
  const auto trace = trace_of(model, batch_for(Kind::plain));
  const auto parameters = [](const CreditNet& net) { return copies(net->parameters()); };

  REQUIRE(state.targets.size() + 1 == state.nets.size());
  for (std::size_t i = 0; i < state.targets.size(); ++i) {
    CHECK(same(parameters(state.targets[i]), parameters(state.nets[i + 1])));
  }
  for (int repeat = 0; repeat < 2; ++repeat) {
    std::vector<std::vector<torch::Tensor>> before;
    for (const auto& target : state.targets) before.push_back(parameters(target));

    state.learn(model, trace);

    for (std::size_t i = 0; i < state.targets.size(); ++i) {
      const auto now = parameters(state.targets[i]), leader = parameters(state.nets[i + 1]);
      for (std::size_t p = 0; p < now.size(); ++p) {
        CHECK(distance(now[p], 0.9 * before[i][p] + 0.1 * leader[p]) < 1e-6);
        CHECK(!torch::equal(now[p], before[i][p]));
      }
    }
  }
}

TEST_CASE("ValueNet's credit is the gradient of the value in the hidden state", "[credit][value_net]") {
  for (const auto kind : {Kind::plain, Kind::tokens}) {
    auto model = stages(kind, torch::kFloat64);
    const auto trace = trace_of(model, batch_for(kind, torch::kFloat64));
    const auto state = tiny.bind(model, context(torch::kFloat64));

    const auto credits = state.credit(model, trace);

    const std::size_t N = state.nets.size();
    for (std::size_t l = 0; l < credits.size(); ++l) {
      const auto flat = credits[l].flatten(1);
      for (std::int64_t b = 0; b < flat.size(0); ++b) {
        for (std::int64_t j = 0; j < flat.size(1); ++j) {
          auto above = row(trace.hidden[l], b).flatten(1).clone(), below = above.clone();
          above[0][j] += 1e-5;
          below[0][j] -= 1e-5;
          const auto v = [&](const torch::Tensor& at) { return value(state.nets[l], l, N, at, row(trace.error, b)); };
          CHECK(flat[b][j].item<double>() == Approx((v(above) - v(below)) / 2e-5).margin(1e-8));
        }
      }
    }
  }
}

TEST_CASE("ValueNet gives block l the estimate at its input where it is asked to", "[credit][value_net]") {
  auto model = residual_mlp(torch::kFloat64);
  const auto trace = trace_of(model, small_batch(torch::kFloat64));
  auto at_input = tiny;
  at_input.at = CreditPoint::BlockInput;

  const auto output = tiny.bind(model, context(torch::kFloat64)).credit(model, trace);
  const auto input = at_input.bind(model, context(torch::kFloat64)).credit(model, trace);

  for (std::size_t l = 0; l < 3; ++l) CHECK(distance(input[l + 1], output[l]) < 1e-14);
  CHECK(torch::equal(input[0], input[1]));
}

TEST_CASE("ValueNet learns while DFA warms up", "[credit][value_net]") {
  const auto batch = small_batch();
  LocalTrainer trainer(small_model(), Mix{DFA{}, tiny}, {.epochs = 4}, Warmup{.epochs = 1, .ramp = 1});
  LocalTrainer dfa(small_model(), DFA{}, {.epochs = 4});
  const auto before = kept(trainer.state().second);

  CHECK(same(trainer.credits(batch.x, batch.y), dfa.credits(batch.x, batch.y)));
  trainer.step(batch.x, batch.y);

  CHECK(!same(before, kept(trainer.state().second)));
  trainer.end_epoch();
  const auto later = trainer.raw_credits(batch.x, batch.y);
  CHECK(same(later, trainer.state().second.credit(trainer.model(), trace_of(trainer.model(), batch))));
}
