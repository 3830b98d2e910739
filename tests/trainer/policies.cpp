// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/clip/by_value.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/rate/one_cycle.hpp>
#include <creditlib/rate/reduce_on_plateau.hpp>
#include <creditlib/rate/warmup_cosine.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <creditlib/trainer/policies.hpp>
#include <functional>
#include <type_traits>
#include <vector>

#include "../models.hpp"
#include "../temporary_folder.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
using creditlib::detail::kind_of;
using creditlib::detail::PolicyKind;

namespace {

struct OwnOptimizer {
  struct State {
    std::vector<TrainedParameter> parameters;
    double factor = 1;

    void set_rate(double now) { factor = now; }
    void step() {
      const torch::NoGradGuard no_grad;
      for (auto& [parameter, lr, decay] : parameters) {
        if (parameter.grad().defined()) parameter.sub_(parameter.grad().sign(), lr * factor);
      }
    }
    NamedTensors named_tensors() const { return {}; }
  };

  State bind(std::vector<TrainedParameter> parameters) const { return {std::move(parameters)}; }
};

// What a policy is, by what it can do.
static_assert(kind_of<SwitchAt>() == PolicyKind::Schedule);
static_assert(kind_of<Raw>() == PolicyKind::Normalizer && kind_of<RowRms>() == PolicyKind::Normalizer);
static_assert(kind_of<InnerProduct>() == PolicyKind::LocalLoss);
static_assert(kind_of<SquaredError>() == PolicyKind::Objective && kind_of<CrossEntropy>() == PolicyKind::Objective);
static_assert(kind_of<optimizer::SGD>() == PolicyKind::Optimizer && kind_of<OwnOptimizer>() == PolicyKind::Optimizer);
static_assert(kind_of<torch::optim::Adam>() == PolicyKind::Optimizer);
static_assert(kind_of<std::shared_ptr<torch::optim::RMSprop>>() == PolicyKind::Optimizer);
static_assert(kind_of<rate::Cosine>() == PolicyKind::Rate && kind_of<rate::ReduceOnPlateau>() == PolicyKind::Rate);
static_assert(kind_of<std::function<double(const Progress&)>>() == PolicyKind::Rate);
static_assert(kind_of<clip::ByAll>() == PolicyKind::Clip && kind_of<clip::ByValue>() == PolicyKind::Clip);
static_assert(kind_of<int>() == PolicyKind::None && kind_of<DFA>() == PolicyKind::None);

// The public concepts say the same.
static_assert(OptimizerPolicy<optimizer::AdamW> && OptimizerPolicy<OwnOptimizer> && OptimizerPolicy<torch::optim::SGD>);
static_assert(RatePolicy<rate::OneCycle> && RatePolicy<rate::ReduceOnPlateau> && !RatePolicy<Raw>);
static_assert(ClipPolicy<clip::ByBlock> && !ClipPolicy<InnerProduct> && !OptimizerPolicy<SwitchAt>);

}  // namespace

TEST_CASE("policies come in any order, and make the trainer that the fixed order makes", "[trainer]") {
  auto model = small_model();
  const Mix both{DFA{}, DFA{}};
  LocalTrainer fixed(model, both, {.epochs = 3}, SwitchAt{.epoch = 2}, Raw{}, PenalizedInnerProduct{.lambda = 0.1},
                     SquaredError{});
  LocalTrainer any_order(model, both, {.epochs = 3}, SquaredError{}, rate::Constant{},
                         PenalizedInnerProduct{.lambda = 0.1}, optimizer::SGD{}, Raw{}, SwitchAt{.epoch = 2});
  LocalTrainer skipped(model, DFA{}, {.epochs = 3}, {}, Raw{});
  const Raw raw;
  LocalTrainer given(model, DFA{}, {.epochs = 3}, raw);

  STATIC_REQUIRE(std::is_same_v<decltype(fixed), decltype(any_order)>);
  STATIC_REQUIRE(std::is_same_v<decltype(skipped), decltype(given)>);
  STATIC_REQUIRE(std::is_same_v<decltype(given), LocalTrainer<ResidualMLP, DFA, Always, Raw>>);
  CHECK(any_order.weights() == std::array{1.0, 0.0});
  CHECK(any_order.options().epochs == 3);
}

TEST_CASE("each policy of a trainer acts, wherever it stands", "[trainer]") {
  const auto batch = small_batch();
  const auto credits_and_gradients = [&](auto&&... policies) {
    auto model = small_model();
    LocalTrainer trainer(model, DFA{}, {.seed = 7}, policies...);
    auto shown = trainer.credits(batch.x, batch.y);
    for (auto& gradient : trainer.gradients(batch.x, batch.y)) shown.push_back(gradient);
    return copies(shown);
  };
  const auto plain = credits_and_gradients(RowRms{});
  const PenalizedInnerProduct penalty{.lambda = 0.5};

  CHECK_FALSE(same(credits_and_gradients(Raw{}), plain));
  CHECK_FALSE(same(credits_and_gradients(penalty), plain));
  CHECK(same(credits_and_gradients(penalty, Raw{}), credits_and_gradients(Raw{}, penalty)));
  CHECK(same(credits_and_gradients(penalty, clip::ByAll{.norm = 0.1}, Raw{}),
             credits_and_gradients(clip::ByAll{.norm = 0.1}, Raw{}, penalty)));
}

TEST_CASE("a lambda with captures is taken wherever a callable is, and such a trainer can be assigned", "[trainer]") {
  const auto batch = small_batch();
  auto model = small_model();
  double scale = 2, share = 0.5;
  std::int64_t clipped = 0;
  const auto make = [&] {
    return LocalTrainer(
        model, DFA{}, {.lr = 0.1}, [scale](torch::Tensor a) -> torch::Tensor { return a * scale; },
        [scale](torch::Tensor f, torch::Tensor a) -> torch::Tensor {
          return scale * (f * a).sum() / static_cast<double>(f.size(0));
        },
        [share](const Progress& now) { return share / static_cast<double>(1 + now.step); },
        [&clipped](std::vector<torch::Tensor>& gradients, const ParameterParts& parts) {
          ++clipped;
          CHECK(gradients.size() == parts.all.size());
        });
  };
  auto trainer = make();
  CHECK(trainer.rate() == Approx(0.05));

  trainer.step(batch.x, batch.y);
  CHECK(trainer.rate() == Approx(0.025));
  CHECK(clipped == 1);
  CHECK(torch::equal(trainer.credits(batch.x, batch.y)[1], 2 * trainer.raw_credits(batch.x, batch.y)[1]));
  auto other = make();
  other = std::move(trainer);
  other.step(batch.x, batch.y);
  CHECK(other.steps() == 2);
}

TEST_CASE("an optimizer of a user's own updates the parameters, with the options' lr and the rate's factor",
          "[trainer]") {
  auto model = small_model();
  const auto batch = small_batch();
  const auto before = copies(model->parameters());
  LocalTrainer trainer(model, DFA{}, {.lr = 0.25}, OwnOptimizer{}, [](const Progress&) { return 0.5; });

  trainer.step(batch.x, batch.y);

  const auto after = model->parameters();
  for (std::size_t i = 0; i < after.size(); ++i) {
    CHECK(distance(before[i] - after[i].detach(), 0.125 * after[i].grad().sign()) < 1e-5);
  }
}

TEST_CASE("lr_factors scale the rate of each part, and norms and biases need not decay", "[trainer]") {
  auto model = small_model();
  std::vector<TrainedParameter> seen;
  struct Spy {
    std::vector<TrainedParameter>* seen;
    OwnOptimizer::State bind(std::vector<TrainedParameter> parameters) const {
      *seen = parameters;
      return {std::move(parameters)};
    }
  };
  LocalTrainer trainer(
      model, DFA{},
      {.lr = 0.1, .weight_decay = 0.2, .lr_factors = {.embed = 2, .readout = 10}, .decay_norms_and_biases = false},
      Spy{&seen});

  const auto named = model->named_parameters();
  REQUIRE(seen.size() == named.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    const auto& key = named[i].key();
    CAPTURE(key);
    CHECK(seen[i].parameter.is_same(named[i].value()));
    const double factor = key.rfind("embed", 0) == 0 ? 2 : key.rfind("out_", 0) == 0 ? 10 : 1;
    CHECK(seen[i].lr == Approx(0.1 * factor));
    CHECK(seen[i].weight_decay == (named[i].value().dim() > 1 ? 0.2 : 0));
  }
}

TEST_CASE("our optimizers keep one order of their state, whatever groups the options make", "[trainer]") {
  const TemporaryFolder folder;
  const auto batch = small_batch();
  auto model = small_model(), other = small_model();
  LocalTrainer grouped(model, DFA{}, {.lr = 0.1, .lr_factors = {.readout = 10}, .decay_norms_and_biases = false});
  LocalTrainer plain(other, DFA{}, {.lr = 0.1});
  grouped.step(batch.x, batch.y);
  plain.step(batch.x, batch.y);
  const auto moments = [&](auto& trainer, const char* name) {
    trainer.save(folder / name);
    std::vector<torch::Tensor> found;
    for (const auto& [key, tensor] : creditlib::detail::load_tensors(folder / name)) {
      if (key.rfind("optimizer.", 0) == 0) found.push_back(tensor);
    }
    return found;
  };

  CHECK(same(moments(grouped, "a"), moments(plain, "b")));  // of the first step: the gradients are the same
  CHECK_FALSE(same(copies(model->parameters()), copies(other->parameters())));
  plain.load(folder / "a");
  CHECK(same(copies(model->parameters()), copies(other->parameters())));
}

TEST_CASE("momentum of the options is shorthand for the policy's", "[trainer]") {
  const auto batch = small_batch();
  const auto trained = [&](const TrainerOptions& options, auto... policies) {
    auto model = small_model();
    LocalTrainer trainer(model, DFA{}, options, Raw{}, policies...);
    for (int i = 0; i < 3; ++i) trainer.step(batch.x, batch.y);
    return copies(model->parameters());
  };

  CHECK(same(trained({.optimizer = Optimizer::SGD, .momentum = 0.5}), trained({}, optimizer::SGD{.momentum = 0.5})));
  CHECK_FALSE(same(trained({.optimizer = Optimizer::SGD}), trained({}, optimizer::SGD{.momentum = 0.5})));
}

TEST_CASE("invalid policies are refused when the trainer is made", "[trainer][errors]") {
  auto model = small_model();
  const auto refusal = [&](const TrainerOptions& options, auto... policies) {
    return error_of([&] { LocalTrainer trainer(model, DFA{}, options, policies...); });
  };

  CHECK(says(refusal({}, optimizer::SGD{.momentum = -1}), {"optimizer::SGD: momentum is -1, expected"}));
  CHECK(says(refusal({}, optimizer::AdamW{.beta1 = 1}),
             {"optimizer::AdamW: beta1 is 1, expected a number >= 0 and < 1"}));
  CHECK(says(refusal({}, clip::ByAll{.norm = 0}), {"clip::ByAll: norm is 0, expected"}));
  CHECK(says(refusal({}, clip::ByValue{.value = -1}), {"clip::ByValue: value is -1, expected"}));
  CHECK(says(refusal({.clip_norm = 1}, clip::ByAll{}), {"clip_norm is given and so is a clip policy"}));
  CHECK(says(refusal({}, rate::OneCycle{}), {"rate::OneCycle: total is 0"}));
  CHECK(
      says(refusal({}, rate::WarmupCosine{.steps = 5, .total = 5}), {"rate::WarmupCosine: steps is 5 and total is 5"}));
  CHECK(says(refusal({}, rate::ReduceOnPlateau{.factor = 1}), {"rate::ReduceOnPlateau: factor is 1, expected"}));
  CHECK(says(refusal({}, [](const Progress&) { return -1.0; }), {"The rate gives the factor -1 in epoch 0, step 0"}));
  CHECK(says(refusal({.lr_factors = {.readout = -1}}, Raw{}), {"lr_factors.readout is -1"}));
}
