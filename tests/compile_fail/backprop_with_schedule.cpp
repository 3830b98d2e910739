// SPDX-License-Identifier: Apache-2.0
// expect: back-propagation has no schedule, normalizer or local loss
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/normalizer/raw.hpp>

int main() {
  const creditlib::ResidualMLP model({.input = 8, .width = 4, .classes = 3, .blocks = 2});
  creditlib::BackpropTrainer trainer(model, {}, creditlib::rate::Constant{}, creditlib::Raw{});
}
