// SPDX-License-Identifier: Apache-2.0
// expect: a Mix holds two credit sources, not another Mix
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/schedule/blend.hpp>

int main() {
  using namespace creditlib;
  LocalTrainer trainer(ResidualMLP({.blocks = 2}), Mix{DFA{}, Mix{DFA{}, FA{}}}, {}, Blend{});
}
