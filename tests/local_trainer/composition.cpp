// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <memory>

#include "../models.hpp"
#include "../rules.hpp"
#include "../sources.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Normalises by the largest number of each sample.
struct ByLargest {
  torch::Tensor operator()(torch::Tensor a) const { return a / a.abs().amax(1, true); }
};

/// A thousandth of cross-entropy, without `correct`.
struct SmallCrossEntropy {
  torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor& target) const {
    return CrossEntropy{}.loss(logits, target) / 1000;
  }
  torch::Tensor error(const torch::Tensor& logits, const torch::Tensor& target) const {
    return CrossEntropy{}.error(logits, target) / 1000;
  }
  void check(const torch::Tensor& logits, const torch::Tensor& target) const { CrossEntropy{}.check(logits, target); }
};

/// A network of a user's own, held by a shared_ptr.
struct OwnNetwork : torch::nn::Module {
  OwnNetwork()
      : first(register_module("first", torch::nn::Linear(6, 5))),
        second(register_module("second", torch::nn::Linear(5, 4))) {}
  torch::Tensor embed(torch::Tensor x) { return x; }
  std::int64_t blocks() const { return 1; }
  torch::Tensor block(std::int64_t, torch::Tensor h) { return torch::tanh(first(h)); }
  torch::Tensor join(std::int64_t, torch::Tensor, torch::Tensor f) { return f; }
  torch::Tensor readout(torch::Tensor h) { return second(h); }
  torch::Tensor forward(torch::Tensor x) { return readout(block(0, x)); }
  std::int64_t classes() const { return 4; }
  std::vector<std::int64_t> hidden_shape(std::int64_t l) const { return {l == 0 ? 6 : 5}; }
  std::vector<torch::Tensor> embed_parameters() const { return {}; }
  std::vector<torch::Tensor> block_parameters(std::int64_t) const { return first->parameters(); }
  std::vector<torch::Tensor> readout_parameters() const { return second->parameters(); }
  torch::nn::Linear first, second;
};

}  // namespace

TEST_CASE("template arguments are deduced, and {} skips an argument", "[trainer]") {
  auto model = small_model();
  LocalTrainer two(model, DFA{});
  LocalTrainer options(model, FA{}, {.epochs = 3, .seed = 1});
  LocalTrainer skipped(model, Oracle{}, {}, {}, Raw{}, PenalizedInnerProduct{.lambda = 1});
  LocalTrainer scheduled(model, Mix{DFA{}, FA{}}, {}, SwitchAt{.epoch = 2});
  LocalTrainer objective(model, Mix{DFA{}, Oracle{.at = CreditPoint::BlockInput}}, {}, SwitchAt{}, {}, {},
                         SquaredError{});
  LocalTrainer<ResidualMLP, DFA> named(model);

  STATIC_REQUIRE(
      std::is_same_v<decltype(two), LocalTrainer<ResidualMLP, DFA, Always, RowRms, InnerProduct, CrossEntropy>>);
  STATIC_REQUIRE(std::is_same_v<decltype(options), LocalTrainer<ResidualMLP, FA>>);
  STATIC_REQUIRE(
      std::is_same_v<decltype(skipped), LocalTrainer<ResidualMLP, Oracle, Always, Raw, PenalizedInnerProduct>>);
  STATIC_REQUIRE(std::is_same_v<decltype(scheduled), LocalTrainer<ResidualMLP, Mix<DFA, FA>, SwitchAt>>);
  STATIC_REQUIRE(
      std::is_same_v<decltype(objective),
                     LocalTrainer<ResidualMLP, Mix<DFA, Oracle>, SwitchAt, RowRms, InnerProduct, SquaredError>>);
  STATIC_REQUIRE(std::is_same_v<decltype(named), decltype(two)>);
  CHECK(options.options().epochs == 3);
  CHECK(named.options().seed == 42);
}

TEST_CASE("normalizers, objectives and schedules of a user's own work", "[trainer]") {
  auto model = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  LocalTrainer trainer(model, DFA{}, {}, RecordingSchedule{}, ByLargest{}, {}, SmallCrossEntropy{});
  LocalTrainer plain(model, DFA{});

  const auto raw = trainer.raw_credits(batch.x, batch.y), credits = trainer.credits(batch.x, batch.y);
  const auto raw_of_plain = plain.raw_credits(batch.x, batch.y);
  const auto a = trainer.gradients(batch.x, batch.y), b = plain.gradients(batch.x, batch.y);
  const auto result = trainer.step(batch.x, batch.y);

  CHECK(distance(1000 * raw[1], raw_of_plain[1]) < 1e-12);
  for (std::int64_t i = 0; i < 7; ++i) CHECK(credits[2][i].abs().max().item<double>() == Approx(1));
  CHECK(distance(1000 * a.back(), b.back()) < 1e-12);
  CHECK(result.correct.item<std::int64_t>() == 0);
  CHECK(result.correct.scalar_type() == torch::kInt64);
}

TEST_CASE("a model held by a shared_ptr trains", "[trainer]") {
  const auto model = std::make_shared<OwnNetwork>();
  const auto batch = small_batch();
  LocalTrainer trainer(model, FA{}, {.lr = 0.05});
  LocalTrainer exact(model, Oracle{});
  const double before = trainer.step(batch.x, batch.y).loss.item<double>();
  for (int i = 0; i < 30; ++i) trainer.step(batch.x, batch.y);

  CHECK(trainer.step(batch.x, batch.y).loss.item<double>() < before / 2);
  CHECK_FALSE(exact.credits(batch.x, batch.y)[0].defined());
}

TEST_CASE("a trainer moves with all that it has", "[trainer]") {
  const auto batch = small_batch();
  auto model = small_model(), other = small_model();
  LocalTrainer stays(model, NoisyProjection{}, {.seed = 3});
  LocalTrainer first(other, NoisyProjection{}, {.seed = 3});
  stays.step(batch.x, batch.y);
  first.step(batch.x, batch.y);

  LocalTrainer moved = std::move(first);
  LocalTrainer assigned(small_model(), NoisyProjection{});
  assigned = std::move(moved);
  stays.step(batch.x, batch.y);
  assigned.step(batch.x, batch.y);

  CHECK(same(model->parameters(), other->parameters()));
  CHECK(assigned.steps() == 2);
  CHECK(assigned.options().seed == 3);
  using Trainer = decltype(stays);
  STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<Trainer>);
  STATIC_REQUIRE_FALSE(std::is_copy_assignable_v<Trainer>);
}
