// SPDX-License-Identifier: Apache-2.0
// expect: a local loss must be callable as `torch::Tensor operator()(torch::Tensor f, torch::Tensor a) const`
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Loss {
  double operator()(torch::Tensor f, torch::Tensor a) const { return (f * a).sum().item<double>(); }
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}),
                                  creditlib::DFA{}, {}, {}, {}, Loss{});
}
