// SPDX-License-Identifier: Apache-2.0
// expect: the model needs `torch::Tensor readout(torch::Tensor h)`, which gives the logits (B, classes)
#include <torch/nn/modules/linear.h>

#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/block_module.hpp>

class NetworkImpl : public creditlib::BlockModule<NetworkImpl> {
 public:
  NetworkImpl() {
    register_block(torch::nn::Linear(2, 2));
    set_shapes({{2}, {2}}, 2);
  }
};

int main() { creditlib::LocalTrainer trainer(creditlib::ModelHolder<NetworkImpl>(), creditlib::DFA{}); }
