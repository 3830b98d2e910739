// SPDX-License-Identifier: Apache-2.0
// expect: this rule declares block_parallel, but its credit is not const, or it has learn, after_step, local_inputs
#include <creditlib/distributed/block_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Rule {
  static constexpr bool block_parallel = true;
  std::vector<torch::Tensor> credit(auto&, const creditlib::Trace& trace) const { return trace.hidden; }
  void learn(auto&, const creditlib::Trace&) {}
};

int main() { creditlib::distributed::BlockTrainer trainer(creditlib::ResidualMLP({.blocks = 2}), Rule{}, {}); }
