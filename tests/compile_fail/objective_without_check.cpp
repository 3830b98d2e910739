// SPDX-License-Identifier: Apache-2.0
// expect: an objective needs `loss(logits, target)` -> (B), `error(logits, target)` -> (B, C) and
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Objective {
  torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor&) const { return logits.sum(1); }
  torch::Tensor error(const torch::Tensor& logits, const torch::Tensor&) const { return torch::ones_like(logits); }
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}),
                                  creditlib::DFA{}, {}, {}, {}, {}, Objective{});
}
