// SPDX-License-Identifier: Apache-2.0
// expect: there are two rates; give one
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

int main() {
  const creditlib::ResidualMLP model({.input = 8, .width = 4, .classes = 3, .blocks = 2});
  creditlib::LocalTrainer trainer(model, creditlib::DFA{}, {}, creditlib::rate::Cosine{}, creditlib::rate::Constant{});
}
