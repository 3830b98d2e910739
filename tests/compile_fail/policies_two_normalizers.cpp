// SPDX-License-Identifier: Apache-2.0
// expect: there are two normalizers; give one
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/normalizer/raw.hpp>

int main() {
  const creditlib::ResidualMLP model({.input = 8, .width = 4, .classes = 3, .blocks = 2});
  creditlib::LocalTrainer trainer(model, creditlib::DFA{}, {}, creditlib::Raw{}, creditlib::rate::Constant{},
                                  creditlib::RowRms{});
}
