// SPDX-License-Identifier: Apache-2.0
// expect: credit(model, const creditlib::Trace&) of the run state must return std::vector<torch::Tensor>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Rule {
  torch::Tensor credit(auto&, const creditlib::Trace& trace) const { return trace.error; }
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}), Rule{});
}
