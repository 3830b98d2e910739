// SPDX-License-Identifier: Apache-2.0
// expect: a normalizer must be callable as `torch::Tensor operator()(torch::Tensor a) const`
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Normalizer {
  torch::Tensor operator()(torch::Tensor a, double scale) const { return a * scale; }
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}),
                                  creditlib::DFA{}, {}, {}, Normalizer{});
}
