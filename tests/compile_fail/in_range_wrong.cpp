// SPDX-License-Identifier: Apache-2.0
// expect: in_range is there but not callable as `torch::Tensor in_range(logits, target) const`
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Objective {
  torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor&) const { return logits.sum(1); }
  torch::Tensor error(const torch::Tensor& logits, const torch::Tensor&) const { return torch::ones_like(logits); }
  void check(const torch::Tensor&, const torch::Tensor&) const {}
  torch::Tensor in_range(const torch::Tensor& target) const { return target; }
};

int main() {
  creditlib::BackpropTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}), {},
                                     Objective{});
}
