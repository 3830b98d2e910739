// SPDX-License-Identifier: Apache-2.0
// expect-success
#include <creditlib/creditlib.hpp>

int main() {
  auto model = creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2});
  creditlib::LocalTrainer trainer(model, creditlib::DFA{});
  trainer.step(torch::randn({2, 8}), torch::tensor({0, 2}));
}
