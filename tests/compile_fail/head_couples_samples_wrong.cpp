// SPDX-License-Identifier: Apache-2.0
// expect: couples_samples must be declared as `static constexpr bool couples_samples = true;`
#include <creditlib/credit/local_heads.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Head {
  torch::nn::Linear module(const creditlib::HeadInput& input) const {
    return torch::nn::Linear(input.features(), input.classes);
  }
  torch::Tensor loss(torch::nn::Linear& net, const torch::Tensor& h, const creditlib::Trace& trace) const {
    return trace.loss(net(h));
  }
  bool couples_samples = true;
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}),
                                  creditlib::LocalHeads<Head>{});
}
