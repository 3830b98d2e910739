// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/local_trainer.hpp>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("in bfloat16 gradients are those of float32 to three digits, and float32 themselves", "[closed_form]") {
  torch::manual_seed(3);
  auto model = lively(ResidualMLP({.input = 30, .width = 24, .classes = 4, .blocks = 3}), torch::kFloat32);
  const auto x = torch::randn({40, 30}), y = torch::randint(4, {40});
  const auto between = [&](auto&& make) {
    const auto rounded = make(MatmulPrecision::BFloat16).gradients(x, y),
               exact = make(MatmulPrecision::Float32).gradients(x, y);
    for (const auto& gradient : rounded) CHECK(gradient.scalar_type() == torch::kFloat32);
    return distance(rounded, exact);
  };
  const auto check = [](double apart) {
    CHECK(apart > 1e-4);  // it does round
    CHECK(apart < 5e-2);
  };

  check(between([&](MatmulPrecision precision) { return BackpropTrainer(model, {.precision = precision}); }));
  check(between([&](MatmulPrecision precision) { return LocalTrainer(model, DFA{}, {.precision = precision}); }));
  check(between([&](MatmulPrecision precision) { return LocalTrainer(model, FA{}, {.precision = precision}); }));
}

TEST_CASE("parameters stay float32 when products are of bfloat16, and take steps smaller than its resolution",
          "[closed_form]") {
  auto model = small_model();
  const auto [x, y] = small_batch();
  const auto before = copies(model->parameters());
  LocalTrainer trainer(model, DFA{}, {.lr = 1e-5, .precision = MatmulPrecision::BFloat16});

  trainer.step(x, y);

  const auto after = copies(model->parameters());
  const double moved = (after[0] - before[0]).abs().max().item<double>();
  CHECK(after[0].scalar_type() == torch::kFloat32);
  CHECK(moved > 0.9e-5);
  CHECK(moved < 1.2e-5);
}

TEST_CASE("bfloat16 is refused where a step is not by formula in float32", "[closed_form]") {
  const TrainerOptions options{.precision = MatmulPrecision::BFloat16};

  CHECK(says(error_of([&] { LocalTrainer(stages(Kind::batch_norm), DFA{}, options); }), {"precision is BFloat16"}));
  CHECK(says(error_of([&] { LocalTrainer(small_model(torch::kFloat64), DFA{}, options); }), {"precision is BFloat16"}));
  CHECK(says(error_of([&] {
               BackpropTrainer(small_model(), {.path = Path::Generic, .precision = MatmulPrecision::BFloat16});
             }),
             {"precision is BFloat16"}));
}
