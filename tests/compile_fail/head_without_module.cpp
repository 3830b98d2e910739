// SPDX-License-Identifier: Apache-2.0
// expect: a head needs `module(const creditlib::HeadInput& input) const`
#include <creditlib/credit/local_heads.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Head {
  torch::Tensor module(const creditlib::HeadInput& input) const { return torch::zeros({input.features()}); }
  torch::Tensor loss(torch::Tensor& weight, const torch::Tensor& h, const creditlib::Trace&) const {
    return h.matmul(weight);
  }
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}),
                                  creditlib::LocalHeads<Head>{});
}
