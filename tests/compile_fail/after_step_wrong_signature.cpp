// SPDX-License-Identifier: Apache-2.0
// expect: after_step is there but not callable as `after_step(model, const creditlib::Trace&)`
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Rule {
  std::vector<torch::Tensor> credit(auto&, const creditlib::Trace& trace) const { return trace.hidden; }
  void after_step() {}
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}), Rule{});
}
