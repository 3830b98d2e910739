// SPDX-License-Identifier: Apache-2.0
// expect: bind must be callable as `bind(model, const creditlib::BindContext&) const`
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Rule {
  creditlib::DFA::State bind(auto& model) const;
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}), Rule{});
}
