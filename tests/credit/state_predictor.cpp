// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/state_predictor.hpp>
#include <creditlib/objective/squared_error.hpp>

#include "../sources.hpp"
#include "../trace_of.hpp"
#include "by_hand.hpp"
#include "learners.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

const StatePredictor& tiny = LearnsStatePredictor::tiny;

/// Net i's prediction of h_L for one sample, in h_L's shape.
torch::Tensor prediction(const StatePredictor::State& state, const Trace& trace, std::size_t i, const torch::Tensor& h,
                         std::int64_t b) {
  const double t = static_cast<double>(i) / static_cast<double>(state.nets.size());
  return state.nets[i]->forward(h, t, row(trace.error, b)).view(row(trace.hidden.back(), b).sizes());
}

}  // namespace

TEST_CASE("StatePredictor's losses are the squared distance to the last hidden state over its norm",
          "[credit][state_predictor]") {
  for (const auto kind : {Kind::plain, Kind::tokens, Kind::no_embed}) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64);
    const auto state = tiny.bind(model, context(torch::kFloat64));
    auto trace = trace_of(model, batch_for(kind, torch::kFloat64));
    // Norms on both sides of 1.
    trace.hidden.back() = trace.hidden.back().clone();
    trace.hidden.back()[0] /= 10 * trace.hidden.back()[0].norm();
    trace.hidden.back()[1] *= 10 / trace.hidden.back()[1].norm();

    const auto losses = state.losses(model, trace);

    CHECK(losses.size() == static_cast<std::size_t>(model->blocks()) + (kind == Kind::no_embed ? 0 : 1));
    for (std::size_t i = 0; i < losses.size(); ++i) {
      double expected = 0;
      const auto &h = trace.hidden[state.first + i], &last = trace.hidden.back();
      for (std::int64_t b = 0; b < h.size(0); ++b) {
        const double scale = std::max(1.0, last[b].norm().item<double>());
        const auto difference = prediction(state, trace, i, row(h, b), b)[0] - last[b];
        expected += std::pow(difference.norm().item<double>() / scale, 2) / static_cast<double>(h.size(0));
      }
      CHECK(losses[i].item<double>() == Approx(expected).epsilon(1e-10));
    }
  }
}

TEST_CASE("StatePredictor's credit is the gradient of the predicted state's loss in the hidden state",
          "[credit][state_predictor]") {
  for (const auto kind : {Kind::plain, Kind::tokens}) {
    auto model = stages(kind, torch::kFloat64);
    const auto trace = trace_of(model, batch_for(kind, torch::kFloat64));
    const auto state = tiny.bind(model, context(torch::kFloat64));

    const auto credits = state.credit(model, trace);

    for (std::size_t l = 0; l < credits.size(); ++l) {
      const auto flat = credits[l].flatten(1);
      for (std::int64_t b = 0; b < flat.size(0); ++b) {
        const auto loss = [&](const torch::Tensor& at) {
          return sample_loss(model, model->blocks(), prediction(state, trace, l, at, b), row(trace.target, b));
        };
        for (std::int64_t j = 0; j < flat.size(1); ++j) {
          auto above = row(trace.hidden[l], b).flatten(1).clone(), below = above.clone();
          above[0][j] += 1e-5;
          below[0][j] -= 1e-5;
          CHECK(flat[b][j].item<double>() == Approx((loss(above) - loss(below)) / 2e-5).margin(1e-8));
        }
      }
    }
  }
}

TEST_CASE("StatePredictor's credit is that of the trainer's objective", "[credit][state_predictor]") {
  auto model = stages(Kind::plain, torch::kFloat64);
  const auto x = batch_for(Kind::plain, torch::kFloat64).x;
  const auto wanted = torch::randn({x.size(0), small_classes}, torch::kFloat64);
  const auto trace = trace_of(model, {x, wanted}, SquaredError{});
  const auto state = tiny.bind(model, context(torch::kFloat64));

  const auto credits = state.credit(model, trace);

  for (std::size_t l = 0; l < credits.size(); ++l) {
    const auto h = trace.hidden[l].clone().requires_grad_();
    const double t = static_cast<double>(l) / 4;
    const auto loss = (model->readout(state.nets[l]->forward(h, t, trace.error)) - wanted).square().sum() / 2;
    CHECK(distance(credits[l], slope(loss, h)) < 1e-12);
  }
  Trace bare;
  bare.hidden = trace.hidden;
  bare.error = trace.error;
  bare.target = trace.target;
  CHECK(says(error_of([&] { state.credit(model, bare); }), {"this Trace was not made by a trainer", "no objective"}));
}

TEST_CASE("StatePredictor gives block l the estimate at its input where it is asked to", "[credit][state_predictor]") {
  auto model = residual_mlp(torch::kFloat64);
  const auto trace = trace_of(model, small_batch(torch::kFloat64));
  auto at_input = tiny;
  at_input.at = CreditPoint::BlockInput;
  const auto state = at_input.bind(model, context(torch::kFloat64));

  const auto credits = state.credit(model, trace);

  // No net for h_L, which nothing reads; so time runs in thirds.
  REQUIRE(state.nets.size() == 3);
  for (std::size_t l = 0; l < 3; ++l) {
    const auto h = trace.hidden[l].clone().requires_grad_();
    const auto logits = model->readout(state.nets[l]->forward(h, static_cast<double>(l) / 3, trace.error));
    const auto loss = torch::nn::functional::cross_entropy(
        logits, trace.target, torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kSum));
    CHECK(distance(credits[l + 1], slope(loss, h)) < 1e-12);
  }
  CHECK(torch::equal(credits[0], credits[1]));
}
