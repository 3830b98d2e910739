// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/schedule/anchor.hpp>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("Anchor gives the second source the first step of every so many epochs", "[schedule]") {
  const auto second = [](const Anchor& schedule, std::int64_t epoch, std::int64_t epoch_step) {
    const auto weights = schedule.weights({.epoch = epoch, .epochs = 20, .step = 7, .epoch_step = epoch_step});
    CHECK(weights[0] + weights[1] == 1);
    return weights[1] == 1;
  };

  CHECK(second(Anchor{}, 0, 0));
  CHECK(second(Anchor{}, 5, 0));
  CHECK_FALSE(second(Anchor{}, 5, 1));
  CHECK(second(Anchor{.every = 3}, 0, 0));
  CHECK(second(Anchor{.every = 3}, 6, 0));
  CHECK_FALSE(second(Anchor{.every = 3}, 6, 2));
  CHECK_FALSE(second(Anchor{.every = 3}, 7, 0));
  CHECK(says(error_of([] { Anchor{.every = 0}.weights({}); }), {"Anchor: every is 0, expected at least 1"}));
  CHECK_THROWS_AS(LocalTrainer(small_model(), Mix{DFA{}, Oracle{}}, {}, Anchor{.every = -1}), Error);
}

TEST_CASE("under Anchor a trainer's steps alternate as its epochs do", "[schedule]") {
  auto model = small_model(torch::kFloat64);
  const auto [x, y] = small_batch(torch::kFloat64);
  LocalTrainer trainer(model, Mix{DFA{}, Oracle{}}, {.seed = 7}, Anchor{.every = 2});
  std::vector<bool> oracles;
  for (int epoch = 0; epoch < 4; ++epoch) {
    for (int step = 0; step < 2; ++step) {
      const auto own = LocalTrainer(model, Oracle{}).credits(x, y);
      oracles.push_back(same(trainer.credits(x, y), own));
      trainer.step(x, y);
    }
    trainer.end_epoch();
  }

  CHECK(oracles == std::vector<bool>{true, false, false, false, true, false, false, false});
}

TEST_CASE("under Anchor with one batch per epoch every step is the second source's", "[schedule]") {
  auto model = small_model(torch::kFloat64), other = small_model(torch::kFloat64);
  const auto [x, y] = small_batch(torch::kFloat64);
  LocalTrainer anchored(model, Mix{DFA{}, Oracle{}}, {}, Anchor{});
  LocalTrainer oracle(other, Oracle{});
  for (int epoch = 0; epoch < 3; ++epoch) {
    anchored.step(x, y);
    anchored.end_epoch();
    oracle.step(x, y);
    oracle.end_epoch();
  }

  CHECK(same(copies(model->parameters()), copies(other->parameters())));
}
