// SPDX-License-Identifier: Apache-2.0
// expect: block_parallel must be declared as `static constexpr bool block_parallel = true;`
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Rule {
  std::vector<torch::Tensor> credit(auto&, const creditlib::Trace& trace) const { return trace.hidden; }
  bool block_parallel = true;
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}), Rule{});
}
