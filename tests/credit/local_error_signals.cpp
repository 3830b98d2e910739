// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/local_error_signals.hpp>
#include <creditlib/credit/mono_forward.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/objective/squared_error.hpp>

#include "../trace_of.hpp"
#include "by_hand.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// The cosine of every two rows, number by number; each row first has its mean taken off.
torch::Tensor cosines(const torch::Tensor& z) {
  const auto rows = z.size(0), numbers = z.size(1);
  auto cosine = torch::zeros({rows, rows}, torch::kFloat64);
  const auto centered = [&](std::int64_t i, std::int64_t k) {
    return z[i][k].item<double>() - z[i].mean().item<double>();
  };
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < rows; ++j) {
      double dot = 0, first = 0, second = 0;
      for (std::int64_t k = 0; k < numbers; ++k) {
        dot += centered(i, k) * centered(j, k);
        first += centered(i, k) * centered(i, k);
        second += centered(j, k) * centered(j, k);
      }
      cosine[i][j] = dot / ((1e-8 + std::sqrt(first)) * (1e-8 + std::sqrt(second)));
    }
  }
  return cosine;
}

torch::Tensor onehots(const torch::Tensor& labels) {
  return torch::nn::functional::one_hot(labels, small_classes).to(torch::kFloat64);
}

auto signals_on(SequentialBlocks& model, const LocalErrorSignals& rule, std::uint64_t seed = 7) {
  return rule.bind(model, context(torch::kFloat64, seed));
}

/// Other numbers into all heads: predictors start at 0.
template <class State>
void enliven(State& state) {
  torch::manual_seed(13);
  const torch::NoGradGuard no_grad;
  for (const auto& parameter : state.nets.parameters()) torch::Tensor(parameter).normal_(0, 0.7);
}

}  // namespace

TEST_CASE("LocalErrorSignals' similarity losses average to the mean square between the matrices",
          "[credit][local_error_signals]") {
  for (const auto kind : {Kind::plain, Kind::conv, Kind::tokens, Kind::sequence}) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64);
    const auto trace = trace_of(model, batch_for(kind, torch::kFloat64));
    const auto state = signals_on(model, {.beta = 1});

    const auto losses = state.losses(model, trace);

    const auto wanted = cosines(onehots(trace.target));
    for (std::size_t l = 0; l < losses.size(); ++l) {
      const auto& h = trace.hidden[l];
      auto z = state.nets[l]->projection->forward(h).detach();
      const bool last = hidden_layout(model, static_cast<std::int64_t>(l)) == HiddenLayout::FeaturesLast;
      if (z.dim() > 2 && last) z = z.transpose(1, 2);
      if (z.dim() > 2) z = z.size(1) > 3 ? z.flatten(2).std(2) : z.flatten(1);
      CHECK(losses[l].item<double>() == Approx((cosines(z) - wanted).square().mean().item<double>()).epsilon(1e-10));
    }
  }
}

TEST_CASE("LocalErrorSignals' loss is beta sim and 1 - beta pred, and its credit their gradient",
          "[credit][local_error_signals]") {
  auto model = stages(Kind::plain, torch::kFloat64);
  const auto trace = trace_of(model, batch_for(Kind::plain, torch::kFloat64));
  auto state = signals_on(model, {.beta = 0.3});
  enliven(state);

  const auto credits = state.credit(model, trace);

  const auto wanted = creditlib::detail::similarities(onehots(trace.target));
  for (std::size_t l = 0; l < credits.size(); ++l) {
    const auto& net = *state.nets[l];
    const auto h = trace.hidden[l].clone().requires_grad_();
    const auto pred = torch::nn::functional::cross_entropy(torch::linear(h, net.predictor->weight, net.predictor->bias),
                                                           trace.target);
    const auto sim = torch::mse_loss(creditlib::detail::similarities(torch::linear(h, net.projection->weight)), wanted);
    const auto slope = torch::autograd::grad({0.7 * pred + 0.3 * sim}, {h})[0];
    CHECK(distance(credits[l], slope * static_cast<double>(h.size(0))) < 1e-12);
  }
}

TEST_CASE("LocalErrorSignals' beta = 0 is Mono-Forward without a bias, and needs no projection",
          "[credit][local_error_signals][mono_forward]") {
  for (const auto kind : {Kind::plain, Kind::conv, Kind::tokens}) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64);
    const auto trace = trace_of(model, batch_for(kind, torch::kFloat64));
    auto pred = signals_on(model, {.beta = 0});
    const auto mono = MonoForward{}.bind(model, context(torch::kFloat64));
    for (std::size_t i = 0; i < pred.nets.size(); ++i) {
      const torch::NoGradGuard no_grad;
      CHECK(pred.nets[i]->projection.is_empty());
      CHECK(torch::equal(pred.nets[i]->predictor->weight, torch::zeros_like(mono.nets[i]->weight)));
      pred.nets[i]->predictor->weight.copy_(mono.nets[i]->weight);
      pred.nets[i]->predictor->bias.zero_();
    }

    const auto credits = pred.credit(model, trace), expected = mono.credit(model, trace);

    for (std::size_t l = 0; l < credits.size(); ++l) CHECK(distance(credits[l], expected[l]) < 1e-14);
  }
}

TEST_CASE("LocalErrorSignals' beta = 1 needs no predictor, and its limits are those of mixed losses",
          "[credit][local_error_signals]") {
  auto model = stages(Kind::plain, torch::kFloat64);
  const auto trace = trace_of(model, batch_for(Kind::plain, torch::kFloat64));
  const auto sim = signals_on(model, {.beta = 1});
  CHECK(sim.nets[0]->predictor.is_empty());
  for (const double beta : {1e-9, 1 - 1e-9}) {
    auto mixed = signals_on(model, {.beta = beta});
    enliven(mixed);
    const auto pure = signals_on(model, {.beta = beta < 0.5 ? 0.0 : 1.0});
    for (std::size_t i = 0; i < pure.nets.size(); ++i) {
      const torch::NoGradGuard no_grad;
      const auto from = mixed.nets[i]->named_parameters();
      for (const auto& entry : pure.nets[i]->named_parameters()) torch::Tensor(entry.value()).copy_(from[entry.key()]);
    }
    const auto a = mixed.credit(model, trace), b = pure.credit(model, trace);
    for (std::size_t l = 0; l < a.size(); ++l) CHECK(distance(a[l], b[l]) < 1e-7);
  }
}

TEST_CASE("LocalErrorSignals with the readout as its head is back-propagation of one block",
          "[credit][local_error_signals]") {
  torch::manual_seed(3);
  SequentialBlocks model({.blocks = {torch::nn::Sequential(torch::nn::Linear(6, 5), torch::nn::Tanh())},
                          .readout = torch::nn::Sequential(torch::nn::Linear(5, small_classes)),
                          .example = torch::zeros({1, 6})});
  model->to(torch::kFloat64);
  const Batch batch{torch::randn({7, 6}, torch::kFloat64), torch::randint(small_classes, {7})};
  LocalTrainer trainer(model, LocalErrorSignals{.beta = 0});
  {
    const torch::NoGradGuard no_grad;
    const auto readout = model->readout_parameters();
    trainer.state().nets[0]->predictor->weight.copy_(readout[0]);
    trainer.state().nets[0]->predictor->bias.copy_(readout[1]);
  }
  LocalTrainer oracle(model, Oracle{}, {}, Raw{});

  CHECK(distance(trainer.credits(batch.x, batch.y)[1], oracle.credits(batch.x, batch.y)[1]) < 1e-12);
  const auto a = trainer.gradients(batch.x, batch.y), b = oracle.gradients(batch.x, batch.y);
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(distance(a[i], b[i]) < 1e-12);
}

TEST_CASE("LocalErrorSignals' predictor reads a map averaged over a grid, tokens over runs",
          "[credit][local_error_signals]") {
  const auto grid = [](std::vector<std::int64_t> shape, HiddenLayout layout, std::int64_t most) {
    return creditlib::detail::grid_within({1, std::move(shape), layout, {4}, 4}, most);
  };
  using Grid = std::vector<std::int64_t>;
  const auto first = HiddenLayout::FeaturesFirst, last = HiddenLayout::FeaturesLast;
  CHECK(grid({64, 32, 32}, first, 2048) == Grid{4, 8});  // 32 x 32, 16 x 32, 16 x 16, 8 x 16, 8 x 8, 4 x 8
  CHECK(grid({64, 32, 32}, first, 64 * 32 * 32) == Grid{32, 32});
  CHECK(grid({4096, 7, 5}, first, 2048) == Grid{1, 1});
  CHECK(grid({65, 128}, last, 2048) == Grid{9});
  CHECK(grid({8, -1, -1}, first, 2048) == Grid{1, 1});
  CHECK(grid({256}, last, 16).empty());

  const creditlib::detail::HeadView view("Test", {1, {3, 4, 4}, first, {4}, 4}, {2, 2});
  const auto map = torch::arange(2.0 * 3 * 16).view({2, 3, 4, 4});
  CHECK(view.width() == 12);
  CHECK(view.rows(map)[1][3].item<float>() == map[1][0].slice(0, 2).slice(1, 2).mean().item<float>());
  const creditlib::detail::HeadView tokens("Test", {1, {4, 3}, last, {4}, 4}, {2});
  const auto row = tokens.rows(torch::arange(12.0).view({1, 4, 3}));
  CHECK(torch::equal(row, torch::tensor({{1.5, 7.5, 2.5, 8.5, 3.5, 9.5}})));
}

TEST_CASE("LocalErrorSignals gives a sample without any spread no credit from similarities",
          "[credit][local_error_signals]") {
  auto model = stages(Kind::plain, torch::kFloat64);
  auto trace = trace_of(model, batch_for(Kind::plain, torch::kFloat64));
  const auto state = signals_on(model, {.beta = 1});
  trace.hidden[1] = trace.hidden[1].clone();
  trace.hidden[1][2].zero_();

  const auto a = state.credit(model, trace)[1];

  CHECK(a.isfinite().all().item<bool>());
  CHECK(a[2].abs().max().item<double>() == 0);
  CHECK(a[1].abs().max().item<double>() > 0);
}

TEST_CASE("LocalErrorSignals' beta = 0 trains a regression, by the trainer's objective",
          "[credit][local_error_signals]") {
  auto model = stages(Kind::plain, torch::kFloat64);
  const auto x = batch_for(Kind::plain, torch::kFloat64).x;
  const auto wanted = torch::randn({x.size(0), small_classes}, torch::kFloat64);
  auto state = signals_on(model, {.beta = 0});
  enliven(state);
  const auto trace = trace_of(model, {x, wanted}, SquaredError{});

  const auto credits = state.credit(model, trace);

  const auto& net = *state.nets[2]->predictor;
  const auto error = torch::linear(trace.hidden[2], net.weight, net.bias) - wanted;
  CHECK(distance(credits[2], error.mm(net.weight)) < 1e-12);
}

TEST_CASE("LocalErrorSignals refuses what it has no loss for", "[credit][local_error_signals]") {
  auto model = stages(Kind::plain);
  const auto made = [&](const LocalErrorSignals& rule) { return error_of([&] { LocalTrainer(model, rule); }); };
  CHECK(says(made({.beta = -0.1}), {"LocalErrorSignals: beta is -0.1, expected a number from 0 to 1."}));
  CHECK(says(made({.beta = 1.5}), {"beta is 1.5"}));
  CHECK(says(made({.lr = -1}), {"LocalErrorSignals: lr is -1"}));
  CHECK(says(made({.weight_decay = -1}), {"LocalErrorSignals: weight_decay is -1"}));
  CHECK(says(made({.pooled = 0}), {"LocalErrorSignals: pooled is 0, expected at least 1."}));

  const auto x = batch_for(Kind::plain).x;
  CHECK(
      says(error_of([&] { LocalTrainer(model, LocalErrorSignals{}, {}, SquaredError{}); }),
           {"LocalErrorSignals: beta > 0 needs a class label for each sample, int64, which the trainer's objective"}));
  LocalTrainer(model, LocalErrorSignals{.beta = 0}, {}, SquaredError{})
      .step(x, torch::randn({x.size(0), small_classes}));
  LocalTrainer trainer(model, LocalErrorSignals{});
  CHECK(says(
      error_of([&] { trainer.step(x, torch::full({x.size(0), small_classes}, 1.0 / small_classes)); }),
      {"LocalErrorSignals: beta > 0 needs a class label for each sample, int64, but the target is (7, 4) float32"}));
}

TEST_CASE("similarities of samples without a class are refused", "[credit]") {
  const auto batch = batch_for(Kind::plain);
  auto y = batch.y.clone();
  y[2] = -100;
  LocalTrainer trainer(stages(Kind::plain), LocalErrorSignals{});
  CHECK(says(error_of([&] { trainer.step(batch.x, y); }),
             {"LocalErrorSignals: beta > 0", "a label is -100", "beta = 0"}));
}
