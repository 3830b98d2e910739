// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <creditlib/creditlib.hpp>

/// A program that prints with an fmt of its own, as a linked library, beside creditlib.
int main() {
  auto model = creditlib::ResidualMLP({.input = 8, .width = 16, .classes = 4, .blocks = 2});
  creditlib::LocalTrainer trainer(model, creditlib::DFA{}, {.seed = 42});
  const auto result = trainer.step(torch::randn({16, 8}), torch::randint(4, {16}, torch::kLong));
  fmt::print("fmt {}: loss {:.3f} of {}\n", FMT_VERSION, result.loss.item<double>(), result.correct.sizes().vec());
  return 0;
}
