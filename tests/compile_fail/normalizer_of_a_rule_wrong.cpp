// SPDX-License-Identifier: Apache-2.0
// expect: the config's Normalizer must be the type of a normalizer that is made without arguments
// expect: `using Normalizer = creditlib::Raw;`
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Rule : creditlib::DFA {
  using Normalizer = double;
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}), Rule{});
}
