// SPDX-License-Identifier: Apache-2.0
// expect: the schedule weighs another number of credit sources than there are
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/schedule/switch_at.hpp>

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}),
                                  creditlib::DFA{}, {}, creditlib::SwitchAt{});
}
