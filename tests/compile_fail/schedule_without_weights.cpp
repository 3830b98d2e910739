// SPDX-License-Identifier: Apache-2.0
// expect: a schedule needs `std::array<double, N> weights(const creditlib::Progress&) const`
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Schedule {
  double weights(const creditlib::Progress&) const { return 1; }
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}),
                                  creditlib::DFA{}, {}, Schedule{});
}
