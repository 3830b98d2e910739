// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <creditlib/credit/forward_gradient.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/transformer_lm.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/trace_of.hpp>
#include <type_traits>
#include <utility>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"
#include "by_hand.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// The mean of the estimates along every direction sqrt(D) e_i, i = 1..D, of all hidden states together.
std::vector<torch::Tensor> along_every_axis(const Trace& trace, std::size_t first) {
  std::vector<torch::Tensor> mean(trace.hidden.size());
  std::int64_t axes = 0;
  for (std::size_t l = first; l < mean.size(); ++l) axes += trace.hidden[l][0].numel();
  for (std::size_t l = first; l < mean.size(); ++l) {
    mean[l] = torch::zeros_like(trace.hidden[l]);
    for (std::int64_t i = 0; i < trace.hidden[l][0].numel(); ++i) {
      std::vector<torch::Tensor> u(mean.size());
      u[l] = torch::zeros_like(trace.hidden[l]).contiguous();
      u[l].flatten(1).select(1, i).fill_(std::sqrt(static_cast<double>(axes)));
      mean[l] += ForwardGradient::State::along(trace, u)[l] / static_cast<double>(axes);
    }
  }
  return mean;
}

template <class Model>
void check_every_axis_is_oracle(Model model, const Batch& batch) {
  const auto trace = creditlib::trace_of(model, batch.x, batch.y);
  const std::size_t first = has_embed(model) ? 0 : 1;
  auto expected = Oracle{}.credit(model, trace), estimate = along_every_axis(trace, first);
  expected.erase(expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(first));
  estimate.erase(estimate.begin(), estimate.begin() + static_cast<std::ptrdiff_t>(first));
  CHECK(distance(estimate, expected) < 1e-12);
}

}  // namespace

TEST_CASE("along all directions the forward gradient is the oracle's", "[credit]") {
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    const auto batch = batch_for(kind, torch::kFloat64);
    if (kind == Kind::residual_mlp) {
      check_every_axis_is_oracle(residual_mlp(torch::kFloat64), batch);
      continue;
    }
    auto model = stages(kind, torch::kFloat64);
    if (mixes_samples(kind)) model->eval();  // in train mode the oracle's is of the other samples' losses too
    check_every_axis_is_oracle(model, batch);
  }
  torch::manual_seed(2);
  const auto text = torch::randint(7, {3, 5});
  check_every_axis_is_oracle(
      lively(TransformerLM({.vocabulary = 7, .context = 4, .width = 4, .heads = 2, .blocks = 1}), torch::kFloat64),
      {text.narrow(1, 0, 4), text.narrow(1, 1, 4)});
}

TEST_CASE("forward gradient is its equation, with directions from its own generator", "[credit]") {
  for (const auto kind : {Kind::residual_mlp, Kind::no_embed}) {
    INFO("on " << name(kind));
    const auto batch = batch_for(kind, torch::kFloat64);
    const auto check = [&](auto model) {
      const auto trace = creditlib::trace_of(model, batch.x, batch.y);
      const auto g = Oracle{}.credit(model, trace);
      const std::size_t first = has_embed(model) ? 0 : 1;
      const auto numbers = context(torch::kFloat64, 5);
      std::vector<torch::Tensor> expected(g.size());
      for (int k = 0; k < 3; ++k) {
        std::vector<torch::Tensor> u(g.size());
        torch::Tensor slope = torch::zeros({batch.x.size(0), 1}, torch::kFloat64);
        for (std::size_t l = first; l < g.size(); ++l) {
          u[l] = numbers.randn(trace.hidden[l].sizes());
          slope = slope + (g[l] * u[l]).sum(1, true);
        }
        for (std::size_t l = first; l < g.size(); ++l) {
          const auto part = slope * u[l] / 3;
          expected[l] = expected[l].defined() ? expected[l] + part : part;
        }
      }

      auto state = ForwardGradient{.directions = 3}.bind(model, context(torch::kFloat64, 5));
      const auto credits = state.credit(model, trace);
      CHECK(credits[0].defined() == (first == 0));
      for (std::size_t l = first; l < g.size(); ++l) CHECK(distance(credits[l], expected[l]) < 1e-12);
    };
    if (kind == Kind::residual_mlp) {
      check(residual_mlp(torch::kFloat64));
    } else {
      check(stages(kind, torch::kFloat64));
    }
  }
}

TEST_CASE("the mean of forward gradients is the true gradient, within 3 standard errors", "[credit]") {
  for (const auto kind : {Kind::residual_mlp, Kind::tokens, Kind::dropout}) {
    INFO("on " << name(kind));
    constexpr std::int64_t draws = 20000;
    const auto check = [&](auto model) {
      model->eval();
      const auto [x, y] = batch_for(kind, torch::kFloat64, 1);
      const auto many = at::zeros({draws}, torch::kInt64);  // draws copies of the one sample
      const auto trace = creditlib::trace_of(model, x.index_select(0, many), y.index_select(0, many));
      const auto g = Oracle{}.credit(model, trace);
      auto state = ForwardGradient{}.bind(model, context(torch::kFloat64));

      const auto estimates = state.credit(model, trace);

      torch::manual_seed(8);
      for (std::size_t l = 0; l < g.size(); ++l) {
        const auto along = [&](const torch::Tensor& v) {
          const auto seen = ((estimates[l] - g[l]) * v).flatten(1).sum(1);
          const double error = seen.std().template item<double>() / std::sqrt(static_cast<double>(draws));
          CHECK(std::abs(seen.mean().template item<double>()) < 3 * error);
          CHECK(error < 0.1 * g[l][0].norm().template item<double>() * v[0].norm().template item<double>());
        };
        along(g[l]);
        for (int i = 0; i < 3; ++i) along(torch::randn_like(g[l][0]).unsqueeze(0));
      }
    };
    if (kind == Kind::residual_mlp) {
      check(residual_mlp(torch::kFloat64));
    } else {
      check(stages(kind, torch::kFloat64));
    }
  }
}

TEST_CASE("other weights change a forward gradient by one number per sample and direction, and the error by that too",
          "[credit]") {
  const auto [x, y] = small_batch(torch::kFloat64);
  const auto credit = [&](std::uint64_t weights, const torch::Tensor& labels) {
    auto model = testing::small_residual_mlp().model(torch::kFloat64, weights);
    LocalTrainer trainer(model, ForwardGradient{}, {.seed = 3});
    static_assert(std::is_same_v<NaturalNormalizer<ForwardGradient>, Raw>);
    return trainer.credits(x, labels);
  };
  const auto before = credit(1, y);
  for (const auto& other : {credit(2, y), credit(1, (y + 1) % small_classes)}) {
    const auto ratio = (other[0] / before[0]).select(1, 0).unsqueeze(1);
    CHECK((ratio - 1).abs().min().item<double>() > 1e-3);  // it does change
    for (std::size_t l = 0; l < before.size(); ++l) CHECK(distance(other[l], ratio * before[l]) < 1e-9);
  }
  static_assert(!creditlib::detail::DeclaresPullback<ForwardGradient::State>);
}

TEST_CASE("forward gradient goes with other objectives, and refuses no direction", "[credit]") {
  auto model = small_model(torch::kFloat64);
  const auto x = small_batch(torch::kFloat64).x, y = torch::randn({x.size(0), small_classes}, torch::kFloat64);
  const auto trace = creditlib::trace_of(model, x, y, SquaredError{});

  CHECK(distance(along_every_axis(trace, 0), Oracle{}.credit(model, trace)) < 1e-12);
  CHECK(says(error_of([&] { LocalTrainer(model, ForwardGradient{.directions = 0}); }),
             {"ForwardGradient: directions (K) is 0, expected at least 1"}));
}
