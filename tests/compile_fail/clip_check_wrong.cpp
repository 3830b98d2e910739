// SPDX-License-Identifier: Apache-2.0
// expect: check is there but not callable as `void check() const`
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Clip {
  void operator()(std::vector<torch::Tensor>&, const creditlib::ParameterParts&) const {}
  void check() {}
};

int main() {
  const creditlib::ResidualMLP model({.input = 8, .width = 4, .classes = 3, .blocks = 2});
  creditlib::LocalTrainer trainer(model, creditlib::DFA{}, {}, Clip{});
}
