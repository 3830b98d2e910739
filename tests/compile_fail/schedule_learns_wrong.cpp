// SPDX-License-Identifier: Apache-2.0
// expect: learns is there but not callable as `std::array<bool, N> learns(const creditlib::Progress&) const`
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Schedule {
  std::array<double, 1> weights(const creditlib::Progress&) const { return {1}; }
  bool learns(const creditlib::Progress&) const { return true; }
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}),
                                  creditlib::DFA{}, {}, Schedule{});
}
