// SPDX-License-Identifier: Apache-2.0
// expect: factored_credit is there but not callable as `factored_credit(model, const creditlib::Trace&)`
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Rule {
  std::vector<torch::Tensor> credit(auto&, const creditlib::Trace& trace) const { return trace.hidden; }
  std::vector<torch::Tensor> factored_credit(auto&, const creditlib::Trace& trace) const { return trace.hidden; }
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}), Rule{});
}
