// SPDX-License-Identifier: Apache-2.0
// expect: embed_loss is there but not callable as `creditlib::InnerProduct embed_loss() const`
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Loss {
  torch::Tensor operator()(torch::Tensor f, torch::Tensor a) const { return (f * a).sum(); }
  double embed_loss() const { return 0; }
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}),
                                  creditlib::DFA{}, {}, {}, {}, Loss{});
}
