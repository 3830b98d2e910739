// SPDX-License-Identifier: Apache-2.0
// expect: this policy fits no kind. A schedule has weights(progress), a normalizer is callable as
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Policy {
  int operator()(int) const { return 0; }
};

int main() {
  const creditlib::ResidualMLP model({.input = 8, .width = 4, .classes = 3, .blocks = 2});
  creditlib::LocalTrainer trainer(model, creditlib::DFA{}, {}, Policy{});
}
