// SPDX-License-Identifier: Apache-2.0
// expect: factored is there but not callable as `creditlib::FactoredCredit factored(const creditlib::FactoredCredit&) const`
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Halved {
  torch::Tensor operator()(torch::Tensor a) const { return a / 2; }
  torch::Tensor factored(const creditlib::FactoredCredit& a) const { return a.left / 2; }
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}),
                                  creditlib::DFA{}, {}, {}, Halved{});
}
