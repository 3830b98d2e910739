// SPDX-License-Identifier: Apache-2.0
// expect: this rule declares block_parallel, but its credit is not const, or it has local_inputs, transport
#include <creditlib/distributed/block_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Rule {
  static constexpr bool block_parallel = true;
  std::vector<torch::Tensor> credit(auto&, const creditlib::Trace& trace) const { return trace.hidden; }
  std::vector<torch::Tensor> local_inputs(auto&, const creditlib::Trace& trace) const { return trace.hidden; }
};

int main() { creditlib::distributed::BlockTrainer trainer(creditlib::ResidualMLP({.blocks = 2}), Rule{}, {}); }
