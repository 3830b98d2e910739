// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/scope/eval_mode.hpp>
#include <iomanip>
#include <iostream>

#include "my_rule.hpp"

struct Samples {
  torch::Tensor x, y;
};

/// Four numbers a sample, and one of four classes: whether the first two have the same sign, and whether the last two
/// have. Chance is .25; a readout on an untrained network reaches .33.
Samples draw(std::int64_t count) {
  const auto x = torch::randn({count, 4});
  const auto same_sign = [&](std::int64_t i) { return (x.select(1, i) * x.select(1, i + 1) > 0).to(torch::kInt64); };
  return {x, 2 * same_sign(0) + same_sign(2)};
}

creditlib::ResidualMLP network() {
  torch::manual_seed(42);
  return creditlib::ResidualMLP({.input = 4, .width = 64, .classes = 4, .blocks = 3});
}

/// Trains a network; prints its accuracy, and how well the credit at each hidden state aligns with the true gradient.
template <class Trainer>
double train(const char* name, Trainer trainer) {
  for (std::int64_t epoch = 0; epoch < trainer.options().epochs; ++epoch) {
    for (int step = 0; step < 64; ++step) {
      const auto [x, y] = draw(32);
      trainer.step(x, y);
    }
    trainer.end_epoch();
  }

  namespace diagnostics = creditlib::diagnostics;
  auto& model = trainer.model();
  const diagnostics::EvalMode eval(*model);
  const auto [x, y] = draw(1024);
  const double accuracy = model->forward(x).argmax(1).eq(y).to(torch::kFloat64).mean().template item<double>();
  std::cout << std::fixed << std::setprecision(3) << name << ": accuracy " << accuracy << ", alignment";
  const auto alignment = diagnostics::alignment(trainer.raw_credits(x, y), diagnostics::true_gradients(model, x, y));
  for (const auto& of_state : alignment) std::cout << " " << of_state.value.value_or(std::nan(""));
  std::cout << "\n";
  return accuracy;
}

int main() {
  // The rule's credit does not shrink as the loss does, so a penalty bounds the blocks' outputs.
  const creditlib::PenalizedInnerProduct loss{.lambda = 0.1};
  const auto accuracy = train("MyRule", creditlib::LocalTrainer(network(), MyRule{}, {.epochs = 20}, loss));
  train("back-propagation", creditlib::BackpropTrainer(network(), {.epochs = 20}));
  return accuracy > 0.5 ? 0 : 1;
}
