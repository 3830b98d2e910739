// SPDX-License-Identifier: Apache-2.0
// expect: optimizers are not copied: std::move it into the trainer, or give it as a
#include <torch/optim/adam.h>

#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

int main() {
  const creditlib::ResidualMLP model({.input = 8, .width = 4, .classes = 3, .blocks = 2});
  torch::optim::Adam adam(model->parameters());
  creditlib::LocalTrainer trainer(model, creditlib::DFA{}, {}, adam);
}
