// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/schedule/blend.hpp>
#include <numeric>

#include "../models.hpp"
#include "../test.hpp"
#include "counted_allocations.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// The mean of f a over all numbers of f: its multiple of the credit goes with the width of the block.
struct MeanProduct {
  torch::Tensor operator()(const torch::Tensor& f, const torch::Tensor& a) const { return (f * a).mean(); }
  std::optional<double> multiple_of_credit(const torch::Tensor& f) const {
    return 1.0 / static_cast<double>(f.numel());
  }
};

}  // namespace

TEST_CASE("a step in constant memory is the step that keeps all activations", "[closed_form]") {
  const auto kind = GENERATE(Kind::residual_mlp, Kind::plain, Kind::no_embed);
  const auto batch = batch_for(kind, torch::kFloat64), other = batch_for(kind, torch::kFloat64, 5, 12);
  INFO(name(kind));
  const auto trained = [&](Memory memory) {
    const auto gradients = [&](auto model) {
      LocalTrainer trainer(model, DFA{}, {.clip_norm = 0.5, .seed = 7, .memory = memory});
      trainer.step(batch.x, batch.y);
      trainer.step(other.x, other.y);
      return std::pair{gradients_of(*model), copies(model->parameters())};
    };
    return kind == Kind::residual_mlp ? gradients(residual_mlp(torch::kFloat64))
                                      : gradients(stages(kind, torch::kFloat64));
  };

  const auto constant = trained(Memory::Constant), activations = trained(Memory::Activations);

  CHECK(distance(constant.first, activations.first) < 1e-11);
  CHECK(distance(constant.second, activations.second) < 1e-11);
}

TEST_CASE("in constant memory a local loss is told of each block's own width", "[closed_form]") {
  const auto batch = batch_for(Kind::plain, torch::kFloat64);
  const auto step_with = [&](Memory memory) {
    auto model = stages(Kind::plain, torch::kFloat64);
    REQUIRE(model->hidden_shape(1) != model->hidden_shape(2));
    LocalTrainer trainer(model, DFA{}, {.seed = 7, .memory = memory}, {}, {}, MeanProduct{});
    trainer.step(batch.x, batch.y);
    return gradients_of(*model);
  };

  CHECK(distance(step_with(Memory::Constant), step_with(Memory::Activations)) < 1e-11);
}

TEST_CASE("in constant memory activations take as much for 32 blocks as for 4", "[closed_form]") {
  const auto bytes = [](std::int64_t blocks, Memory memory) {
    torch::manual_seed(1);
    ResidualMLP model({.input = 20, .width = 16, .classes = 3, .blocks = blocks});
    const auto x = torch::randn({256, 20}), y = torch::randint(3, {256});
    LocalTrainer trainer(model, DFA{}, {.memory = memory});
    const CountedAllocations counted;
    trainer.step(x, y);
    // What hidden states and credit's factors need; gradients and moments, whose sizes go with the parameters, are
    // smaller here, and a number a sample and block is allowed.
    std::size_t of_activations = 0;
    for (const auto size : counted.sizes) of_activations += size >= 256 * 3 * sizeof(float) ? size : 0;
    return static_cast<double>(of_activations);
  };

  CHECK(bytes(32, Memory::Constant) / bytes(4, Memory::Constant) <= 1.05);
  CHECK(bytes(32, Memory::Activations) / bytes(4, Memory::Activations) > 4);
}

TEST_CASE("what constant memory does not go with says so", "[closed_form]") {
  const TrainerOptions constant{.memory = Memory::Constant};
  auto mlp = small_model();
  auto norms = stages(Kind::batch_norm);
  const auto [x, y] = small_batch();

  CHECK(says(error_of([&] { LocalTrainer(norms, DFA{}, constant); }), {"memory is Constant", "no closed form"}));
  CHECK(says(error_of([&] { LocalTrainer(mlp, FA{}, constant); }),
             {"computed from the output error alone", "Memory::Activations"}));
  CHECK(says(error_of([&] { LocalTrainer(mlp, DFA{}, constant, {}, {}, PenalizedInnerProduct{}); }),
             {"kept as factors"}));
  LocalTrainer blended(mlp, Mix{DFA{}, DFA{}}, constant, Blend{});
  CHECK(says(error_of([&] { blended.step(x, y); }), {"mixes two sources", "Memory::Activations"}));
  CHECK(says(error_of([&] { BackpropTrainer(mlp, constant); }), {"back-propagation needs the activations"}));
}

TEST_CASE("credits and gradients can be asked for in constant memory too", "[closed_form]") {
  auto model = small_model(torch::kFloat64);
  const auto [x, y] = small_batch(torch::kFloat64);
  LocalTrainer constant(model, DFA{}, {.seed = 7, .memory = Memory::Constant}), activations(model, DFA{}, {.seed = 7});

  CHECK(same(constant.credits(x, y), activations.credits(x, y)));
  CHECK(distance(constant.gradients(x, y), activations.gradients(x, y)) < 1e-11);
}
