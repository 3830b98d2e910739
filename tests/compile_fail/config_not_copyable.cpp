// SPDX-License-Identifier: Apache-2.0
// expect: a credit source's config must be copyable
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Rule {
  std::unique_ptr<int> owned = {};
  std::vector<torch::Tensor> credit(auto&, const creditlib::Trace& trace) const { return trace.hidden; }
};

int main() {
  creditlib::LocalTrainer<creditlib::ResidualMLP, Rule> trainer(
      creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}));
}
