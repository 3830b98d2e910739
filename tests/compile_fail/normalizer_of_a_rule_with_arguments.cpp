// SPDX-License-Identifier: Apache-2.0
// expect: the config's Normalizer must be the type of a normalizer that is made without arguments
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/schedule/switch_at.hpp>

struct Times {
  explicit Times(double factor) : factor(factor) {}
  torch::Tensor operator()(torch::Tensor a) const { return a * factor; }
  double factor;
};

struct Rule : creditlib::DFA {
  using Normalizer = Times;
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}),
                                  creditlib::Mix{creditlib::DFA{}, Rule{}}, {}, creditlib::SwitchAt{});
}
