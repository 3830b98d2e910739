// SPDX-License-Identifier: Apache-2.0
// expect: multiple_of_credit is there but not callable as `std::optional<double> multiple_of_credit(torch::IntArrayRef sizes) const`
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

struct Halved : creditlib::InnerProduct {
  double multiple_of_credit(const torch::Tensor&) const { return 0.5; }
};

int main() {
  creditlib::LocalTrainer trainer(creditlib::ResidualMLP({.input = 8, .width = 4, .classes = 3, .blocks = 2}),
                                  creditlib::DFA{}, {}, {}, {}, Halved{});
}
