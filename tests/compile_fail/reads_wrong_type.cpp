// SPDX-License-Identifier: Apache-2.0
// expect: reads is there but not callable as
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <string>

struct Rule {
  std::vector<torch::Tensor> credit(auto&, const creditlib::Trace& trace) const { return trace.hidden; }
  std::string reads() const { return "error"; }
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}), Rule{});
}
