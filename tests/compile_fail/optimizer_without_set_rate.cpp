// SPDX-License-Identifier: Apache-2.0
// expect: bind returns needs `void step()`, `void set_rate(double factor)` and
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Optimizer {
  struct State {
    void step() {}
    creditlib::NamedTensors named_tensors() const { return {}; }
  };
  State bind(const std::vector<creditlib::TrainedParameter>&) const { return {}; }
};

int main() {
  const creditlib::ResidualMLP model({.input = 8, .width = 4, .classes = 3, .blocks = 2});
  creditlib::LocalTrainer trainer(model, creditlib::DFA{}, {}, Optimizer{});
}
