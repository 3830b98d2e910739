// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <creditlib/trainer_options.hpp>

#include "models.hpp"
#include "test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("trainer options stand in the order and with the defaults that programs rely on", "[options]") {
  const TrainerOptions defaults;
  CHECK(defaults.lr == 1e-3);
  CHECK(defaults.weight_decay == 0.01);
  CHECK_FALSE(defaults.clip_norm.has_value());
  CHECK(defaults.epochs == 100);
  CHECK(defaults.seed == 42);
  CHECK(defaults.optimizer == Optimizer::AdamW);
  CHECK(defaults.rate == Rate::Cosine);

  const TrainerOptions all{.lr = 1,
                           .weight_decay = 2,
                           .clip_norm = 3,
                           .epochs = 4,
                           .seed = 5,
                           .optimizer = Optimizer::SGD,
                           .rate = Rate::Constant};
  CHECK(error_of([&] { all.check(); }) == "(nothing was thrown)");
}

TEST_CASE("trainer options that cannot be meant are refused by name", "[options]") {
  const auto message = [](const TrainerOptions& options) { return error_of([&] { options.check(); }); };

  CHECK(says(message({.lr = -1}), {"lr is -1"}));
  CHECK(says(message({.lr = NAN}), {"lr is nan"}));
  CHECK(says(message({.lr = INFINITY}), {"lr is inf"}));
  CHECK(says(message({.weight_decay = -0.5}), {"weight_decay is -0.5"}));
  CHECK(says(message({.clip_norm = 0.0}), {"clip_norm is 0", "std::nullopt"}));
  CHECK(says(message({.clip_norm = NAN}), {"clip_norm is nan"}));
  CHECK(says(message({.epochs = 0}), {"epochs is 0"}));
}
