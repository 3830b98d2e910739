// SPDX-License-Identifier: Apache-2.0
// expect: report is there but not callable as `void report(double value)`
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Rate {
  double operator()(const creditlib::Progress&) const { return 1; }
  void report() {}
};

int main() {
  const creditlib::ResidualMLP model({.input = 8, .width = 4, .classes = 3, .blocks = 2});
  creditlib::LocalTrainer trainer(model, creditlib::DFA{}, {}, Rate{});
}
