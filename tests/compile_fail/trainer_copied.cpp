// SPDX-License-Identifier: Apache-2.0
// expect: use of deleted function
// expect-clang: call to implicitly-deleted copy constructor
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}),
                                  creditlib::DFA{});
  auto copy = trainer;
}
