// SPDX-License-Identifier: Apache-2.0
// expect: tensors_of is there but not callable as `std::vector<torch::Tensor> tensors_of(std::int64_t l) const`
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Rule {
  std::vector<torch::Tensor> credit(auto&, const creditlib::Trace& trace) const { return trace.hidden; }
  std::vector<torch::Tensor> tensors_of(std::int64_t) { return {}; }
};

int main() { creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.blocks = 2}), Rule{}, {}); }
