// SPDX-License-Identifier: Apache-2.0
#include <creditlib/creditlib.hpp>
#include <iostream>

/// An outside program in full: a residual MLP learns, by direct feedback alignment, in which of eight places a number
/// is largest.
int main() {
  torch::set_num_threads(1);
  torch::manual_seed(7);
  const auto x = torch::randn({256, 8});
  const auto y = x.argmax(1);
  auto model = creditlib::ResidualMLP({.input = 8, .width = 32, .classes = 8, .blocks = 2});
  creditlib::LocalTrainer trainer(model, creditlib::DFA{}, {.lr = 1e-2, .epochs = 300, .seed = 42});
  for (int epoch = 0; epoch < 300; ++epoch) {
    trainer.step(x, y);
    trainer.end_epoch();
  }
  const double accuracy = model->forward(x).argmax(1).eq(y).to(torch::kFloat).mean().item<double>();
  std::cout << "accuracy " << accuracy << "\n";
  return accuracy > 0.5 ? 0 : 1;
}
