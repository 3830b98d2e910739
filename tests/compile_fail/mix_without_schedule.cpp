// SPDX-License-Identifier: Apache-2.0
// expect: the schedule weighs another number of credit sources than there are: one source goes with Always
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}),
                                  creditlib::Mix{creditlib::DFA{}, creditlib::FA{}});
}
