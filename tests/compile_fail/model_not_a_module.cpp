// SPDX-License-Identifier: Apache-2.0
// expect: the model needs to be a torch::nn module holder or a std::shared_ptr to a torch::nn::Module
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>

struct Network {};

int main() { creditlib::LocalTrainer trainer(std::make_shared<Network>(), creditlib::DFA{}); }
