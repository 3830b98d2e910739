// SPDX-License-Identifier: Apache-2.0
// expect: both sources of this Mix have transport
#include <creditlib/credit/mix.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/schedule/blend.hpp>

struct Rule {
  std::vector<torch::Tensor> credit(auto&, const creditlib::Trace& trace) const { return trace.hidden; }
  std::vector<torch::Tensor> transport(auto& model) const { return model->parameters(); }
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}),
                                  creditlib::Mix{Rule{}, Rule{}}, {}, creditlib::Blend{});
}
