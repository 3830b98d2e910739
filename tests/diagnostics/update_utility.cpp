// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/diagnostics/update_utility.hpp>
#include <creditlib/local_trainer.hpp>

#include "../quadratic.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
using diagnostics::mean_loss;

namespace {

/// One block W (5, 6) under a fixed readout R (3, 5): logits R W x, loss 1/2 |R W x - y|^2, all by hand beside the
/// model.
struct OneMatrix {
  SequentialBlocks model = nullptr;
  torch::Tensor W, R;

  OneMatrix() {
    using namespace torch::nn;
    torch::manual_seed(31);
    const Linear block(LinearOptions(6, 5).bias(false)), readout(LinearOptions(5, 3).bias(false));
    model = SequentialBlocks(
        {.blocks = {Sequential(block)}, .readout = Sequential(readout), .example = torch::zeros({1, 6})});
    model = lively(model, torch::kFloat64);
    W = block->weight.detach().clone();
    R = readout->weight.detach().clone();
  }

  /// With targets near R S x, S the same for all batches, and noise.
  std::vector<Batch> batches(int count, double noise, std::uint64_t seed, std::int64_t size = 4) const {
    torch::manual_seed(1);
    const auto S = torch::randn({5, 6}, torch::kFloat64);
    torch::manual_seed(seed);
    std::vector<Batch> made;
    for (int i = 0; i < count; ++i) {
      const auto x = torch::randn({size, 6}, torch::kFloat64);
      made.push_back({x, x.mm(S.t()).mm(R.t()) + noise * torch::randn({size, 3}, torch::kFloat64)});
    }
    return made;
  }

  double loss(const torch::Tensor& weight, const Batch& batch) const {
    const auto e = batch.x.mm(weight.t()).mm(R.t()) - batch.y;
    return e.square().sum().item<double>() / 2 / static_cast<double>(batch.x.size(0));
  }
  torch::Tensor gradient(const torch::Tensor& weight, const Batch& batch) const {
    const auto e = batch.x.mm(weight.t()).mm(R.t()) - batch.y;
    return e.mm(R).t().mm(batch.x) / static_cast<double>(batch.x.size(0));
  }
  /// A rule: the gradient with its rows swapped about, plus its own.
  torch::Tensor rule(const torch::Tensor& weight, const Batch& batch) const {
    const auto g = gradient(weight, batch);
    return g + 0.3 * g.flip(0);
  }
  /// The same as a program gives it: of the model's present parameters, with a readout gradient that must not be used
  /// unasked.
  auto update() {
    return [this](const torch::Tensor& x, const torch::Tensor& y) {
      const auto weight = model->block_parameters(0)[0].detach();
      return std::vector<torch::Tensor>{rule(weight, {x, y}), torch::full_like(R, 100)};
    };
  }
};

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value / static_cast<double>(values.size());
  return sum;
}

}  // namespace

TEST_CASE("a trial step is eta times the update, and taken back to the bit", "[diagnostics]") {
  auto model = small_model();
  const auto batch = small_batch();
  const ModuleState before(*model);
  const auto old = copies(model->parameters());
  std::vector<torch::Tensor> update(old.size());
  update[1] = torch::ones_like(old[1]);
  {
    diagnostics::TrialStep trial(*model);
    trial.step(update, 0.5);
    trial.step(update, 0.25);
    CHECK(distance(model->parameters()[1], old[1] - 0.75) < 1e-7);
    CHECK(torch::equal(model->parameters()[0], old[0]));
    CHECK(says(error_of([&] { trial.step({}, 1); }), {"0 updates"}));
  }
  CHECK(before == ModuleState(*model));
  CHECK(mean_loss(model, batch.x, batch.y) ==
        Approx(CrossEntropy{}.loss(model->forward(batch.x), batch.y).mean().item<double>()));
}

TEST_CASE("the snapshot script's utility is what its steps do to a quadratic loss", "[diagnostics]") {
  OneMatrix net;
  const auto all = net.batches(12, 2, 3);
  const std::vector<Batch> rollout(all.begin() + 2, all.begin() + 7), across(all.begin() + 7, all.begin() + 11);
  const std::vector<double> etas{1e-3, 0.02, 0.05, 0.2, 3};
  const ModuleState before(*net.model);

  const auto found = diagnostics::snapshot_utility(net.model, net.update(), all[0], all[1], rollout, across,
                                                   {.etas = etas}, SquaredError{});

  CHECK(before == ModuleState(*net.model));
  const auto u = net.rule(net.W, all[0]);
  double best = INFINITY, eta = 0;
  for (const double tried : etas) {
    // -eta <G, U> + eta^2 / 2 mean |R U x|^2
    const double curvature = all[0].x.mm(u.t()).mm(net.R.t()).square().sum().item<double>() / 4;
    const double change =
        -tried * (net.gradient(net.W, all[0]) * u).sum().item<double>() + tried * tried / 2 * curvature;
    if (change < best) best = change, eta = tried;
  }
  REQUIRE(eta != etas.front());
  REQUIRE(eta != etas.back());
  const double held = net.loss(net.W - eta * u, all[1]) - net.loss(net.W, all[1]);
  CHECK(*found.eta == eta);
  CHECK(*found.same_1.value == Approx(best));
  CHECK(*found.held_1.value == Approx(held));
  CHECK(*found.pur_1.value == Approx(held / best));
  auto weight = net.W;
  for (const auto& batch : rollout) weight = weight - eta * net.rule(weight, batch);
  const double same_5 = net.loss(weight, all[0]) - net.loss(net.W, all[0]),
               held_5 = net.loss(weight, all[1]) - net.loss(net.W, all[1]);
  REQUIRE(same_5 < 0);
  CHECK(*found.same_k.value == Approx(same_5));
  CHECK(*found.held_k.value == Approx(held_5));
  CHECK(*found.pur_k.value == Approx(held_5 / same_5));
  double cosines = 0, variance = 0;
  auto centre = torch::zeros_like(net.W);
  for (const auto& batch : across) centre += net.rule(net.W, batch) / 4;
  for (int i = 0; i < 4; ++i) {
    const auto v = net.rule(net.W, across[i]);
    variance += (v - centre).square().sum().item<double>() / 4;
    for (int j = 0; j < i; ++j) {
      const auto w = net.rule(net.W, across[j]);
      cosines += ((v * w).sum() / (v.norm() * w.norm())).item<double>() / 6;
    }
  }
  CHECK(*found.update_cosine.value == Approx(cosines));
  CHECK(*found.update_variance.value == Approx(variance));
}

TEST_CASE("the snapshot script's utility moves the parts that it is told to, the readout too", "[diagnostics]") {
  OneMatrix net;
  const auto all = net.batches(4, 2, 3);
  const auto utility = [&](const diagnostics::UpdatedParts& parts) {
    return diagnostics::snapshot_utility(net.model, net.update(), all[0], all[1], {all[2]}, {all[2], all[3]},
                                         {.etas = {1e-4}, .parts = parts}, SquaredError{});
  };
  const auto loss = [&](double block, double readout) {
    const auto e =
        all[0].x.mm((net.W - block * 1e-4 * net.rule(net.W, all[0])).t()).mm((net.R - readout * 1e-2).t()) - all[0].y;
    return e.square().sum().item<double>() / 8 - net.loss(net.W, all[0]);
  };

  CHECK(*utility({}).same_1.value == Approx(loss(1, 0)));
  CHECK(*utility({.blocks = {{0}}, .readout = true}).same_1.value == Approx(loss(1, 1)));
  CHECK(*utility({.blocks = {{}}, .readout = true}).same_1.value == Approx(loss(0, 1)));
  CHECK(*utility({.readout = true}).update_cosine.value > *utility({}).update_cosine.value);
  CHECK(says(error_of([&] { utility({.blocks = {{1}}}); }), {"block 1", "0..0"}));
  CHECK(says(error_of([&] { utility({.blocks = {{}}}); }), {"moves no parameter"}));
}

TEST_CASE("the snapshot script's utility has no PUR where the loss does not fall, and nothing where it is not finite",
          "[diagnostics]") {
  OneMatrix net;
  const auto all = net.batches(4, 2, 3);
  const auto uphill = [&](const torch::Tensor& x, const torch::Tensor& y) {
    auto update = net.update()(x, y);
    update[0] = -update[0];
    return update;
  };

  const auto found =
      diagnostics::snapshot_utility(net.model, uphill, all[0], all[1], {all[2]}, {all[2], all[3]}, {}, SquaredError{});
  CHECK(*found.eta == 1e-5);
  CHECK(*found.same_1.value > 0);
  CHECK(found.pur_1.reason == "the loss on the same batch does not fall");
  CHECK_FALSE(found.pur_k.value);
  const auto nothing = [&](const torch::Tensor& x, const torch::Tensor& y) {
    auto update = net.update()(x, y);
    update[0] = update[0] * NAN;
    return update;
  };
  const auto none =
      diagnostics::snapshot_utility(net.model, nothing, all[0], all[1], {all[2]}, {all[2], all[3]}, {}, SquaredError{});
  CHECK_FALSE(none.eta);
  CHECK(none.held_k.reason == "the loss is not finite at any eta");
  CHECK_FALSE(none.update_cosine.value);
  CHECK(torch::equal(net.model->block_parameters(0)[0], net.W));
}

TEST_CASE("update utility is the ratio of mean loss changes of independent trials, at the eta of other batches",
          "[diagnostics]") {
  OneMatrix net;
  const std::vector<double> etas{1e-3, 0.02, 0.05, 0.2, 3};
  for (const std::size_t k : {1u, 3u}) {
    INFO(k << " steps");
    const auto training = net.batches(24 * static_cast<int>(k) + 2, 2, 3), held_out = net.batches(24, 2, 4),
               choice = net.batches(3, 2, 5);
    const ModuleState before(*net.model);

    const auto found =
        diagnostics::update_utility(net.model, net.update(), training, held_out, choice,
                                    {.etas = etas, .steps = static_cast<std::int64_t>(k)}, SquaredError{});

    CHECK(before == ModuleState(*net.model));
    double best = INFINITY, eta = 0;
    for (const double tried : etas) {
      std::vector<double> changes;
      for (const auto& batch : choice) {
        changes.push_back(net.loss(net.W - tried * net.rule(net.W, batch), batch) - net.loss(net.W, batch));
      }
      if (mean(changes) < best) best = mean(changes), eta = tried;
    }
    CHECK(*found.eta == eta);
    CHECK_FALSE(found.eta_is_at_an_end);
    CHECK(found.trials == 24);
    std::vector<double> same, held;
    diagnostics::VectorSpread spread;
    for (std::size_t i = 0; i < 24; ++i) {
      auto weight = net.W;
      double change = 0;
      spread.add(net.rule(weight, training[i * k]));
      for (std::size_t j = 0; j < k; ++j) weight = weight - eta * net.rule(weight, training[i * k + j]);
      for (std::size_t j = 0; j < k; ++j) {
        change +=
            (net.loss(weight, training[i * k + j]) - net.loss(net.W, training[i * k + j])) / static_cast<double>(k);
      }
      same.push_back(change);
      held.push_back(net.loss(weight, held_out[i]) - net.loss(net.W, held_out[i]));
    }
    CHECK(*found.same.value == Approx(mean(same)));
    CHECK(*found.held.value == Approx(mean(held)));
    CHECK(*found.pur.value == Approx(mean(held) / mean(same)));
    CHECK(found.pur.interval->contains(*found.pur.value));
    CHECK(found.pur.interval->low < found.pur.interval->high);
    CHECK(*found.update_cosine.value == Approx(*spread.mean_pairwise_cosine().value));
    CHECK(*found.update_variance.value == Approx(*spread.relative_variance().value));
  }
}

TEST_CASE("update utility of steps on large batches without noise is about 1, on noise alone below 0",
          "[diagnostics]") {
  OneMatrix net;
  const auto utility = [&](double noise, const torch::Tensor& start, std::int64_t size) {
    const torch::NoGradGuard no_grad;
    net.model->block_parameters(0)[0].copy_(start);
    return diagnostics::update_utility(net.model, net.update(), net.batches(100, noise, 3, size),
                                       net.batches(100, noise, 4, size), net.batches(3, noise, 5, size),
                                       {.etas = {0.01}}, SquaredError{});
  };
  torch::manual_seed(1);
  const auto solution = torch::randn({5, 6}, torch::kFloat64);

  const auto clean = utility(0, net.W, 1000), noisy = utility(5, solution, 64);

  CHECK(*clean.pur.value == Approx(1).epsilon(0.03));
  CHECK(clean.pur.interval->high - clean.pur.interval->low < 0.05);
  CHECK(*clean.update_cosine.value > 0.9);
  CHECK(*noisy.same.value < 0);
  CHECK(*noisy.held.value > 0);
  CHECK(*noisy.pur.value < 0);
  CHECK(std::abs(*noisy.update_cosine.value) < 0.03);
  CHECK(*noisy.update_variance.value == Approx(1).epsilon(0.05));
}

TEST_CASE("to first order the exact gradient's utility is what its updates have in common", "[diagnostics]") {
  OneMatrix net;
  const auto exact = [&](const torch::Tensor& x, const torch::Tensor& y) {
    return std::vector<torch::Tensor>{net.gradient(net.W, {x, y}), torch::Tensor()};
  };

  const auto found =
      diagnostics::update_utility(net.model, exact, net.batches(1500, 2, 3, 8), net.batches(1500, 2, 4, 8),
                                  net.batches(1, 2, 5), {.etas = {1e-6}}, SquaredError{});

  CHECK(*found.update_variance.value > 0.1);
  CHECK(*found.pur.value == Approx(1 - *found.update_variance.value).margin(0.03));
}

TEST_CASE("update utility has no PUR where the gain on the same batch is within its noise", "[diagnostics]") {
  OneMatrix net;
  torch::manual_seed(9);
  const auto random = [&](const torch::Tensor&, const torch::Tensor&) {
    return std::vector<torch::Tensor>{torch::randn({5, 6}, torch::kFloat64), torch::Tensor()};
  };
  const auto training = net.batches(30, 2, 3), held_out = net.batches(30, 2, 4), choice = net.batches(1, 2, 5);

  const auto found =
      diagnostics::update_utility(net.model, random, training, held_out, choice, {.etas = {1e-4}}, SquaredError{});

  CHECK(found.same.value);
  CHECK(found.same.interval);
  CHECK_FALSE(found.pur.value);
  CHECK(found.pur.reason == "the gain on the same batch is not 3.0 standard errors above 0");
  // By the number of standard errors that is asked for.
  const auto gain = [&](double errors) {
    return diagnostics::update_utility(net.model, net.update(), training, held_out, choice,
                                       {.etas = {0.02}, .least_errors = errors}, SquaredError{});
  };
  std::vector<double> same;
  for (const auto& batch : training) {
    same.push_back(net.loss(net.W, batch) - net.loss(net.W - 0.02 * net.rule(net.W, batch), batch));
  }
  double squares = 0;
  for (const double value : same) squares += (value - mean(same)) * (value - mean(same));
  const double errors = mean(same) / std::sqrt(squares / 29 / 30);
  CHECK(gain(errors * 0.999).pur.value);
  CHECK_FALSE(gain(errors * 1.001).pur.value);
}

TEST_CASE("update utility says what it needs", "[diagnostics]") {
  OneMatrix net;
  const auto utility = [&](int training, int held_out, int choice,
                           const diagnostics::UpdateUtilityOptions& options = {}) {
    return diagnostics::update_utility(net.model, net.update(), net.batches(training, 2, 3),
                                       net.batches(held_out, 2, 4), net.batches(choice, 2, 5), options, SquaredError{});
  };

  CHECK(utility(19, 30, 1).pur.reason ==
        "19 trials of 1 training batches and one held-out batch each, but at least 20 are needed");
  CHECK(utility(30, 19, 1).held.reason != "");
  CHECK(utility(59, 30, 1, {.steps = 3}).trials == 19);
  CHECK_FALSE(utility(59, 30, 1, {.steps = 3}).same.value);
  CHECK(utility(20, 20, 1, {.etas = {0.01}}).eta_is_at_an_end);
  CHECK(says(error_of([&] { utility(20, 20, 0); }), {"no batches to choose eta on"}));
  CHECK(says(error_of([&] { utility(20, 20, 1, {.etas = {}}); }), {"etas is empty"}));
  CHECK(says(error_of([&] { utility(20, 20, 1, {.steps = 0}); }), {"steps is 0"}));
}

TEST_CASE("update utility takes a trainer's gradients and leaves the trainer as it was", "[diagnostics]") {
  auto model = small_model();
  model->eval();
  LocalTrainer trainer(model, DFA{}, {.seed = 3});
  const auto update = [&](const torch::Tensor& x, const torch::Tensor& y) { return trainer.gradients(x, y); };
  std::vector<Batch> batches;
  for (std::uint64_t i = 0; i < 50; ++i) batches.push_back(batch_for(Kind::residual_mlp, torch::kFloat32, 7, i));
  const std::vector<Batch> training(batches.begin(), batches.begin() + 24),
      held_out(batches.begin() + 24, batches.begin() + 48);
  const ModuleState before(*model);

  const auto ours = diagnostics::update_utility(model, update, training, held_out, {batches[48]});
  const auto script = diagnostics::snapshot_utility(model, update, batches[0], batches[1], training, held_out,
                                                    {.parts = {.blocks = {{2}}, .readout = true}});

  CHECK(before == ModuleState(*model));
  CHECK(ours.same.value);
  CHECK(script.same_1.value);
  CHECK(*script.same_1.value < 0);
}
