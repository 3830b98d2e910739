// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/linear.h>

#include <creditlib/credit/head_input.hpp>
#include <creditlib/trace.hpp>

namespace creditlib::test {

/// A head of two layers, with a buffer that follows what its passes see.
struct RememberingHead {
  struct NetImpl : torch::nn::Module {
    explicit NetImpl(const HeadInput& input)
        : first(register_module("first", torch::nn::Linear(input.features(), 4))),
          second(register_module("second", torch::nn::Linear(4, input.classes))),
          seen(register_buffer("seen", torch::zeros({4}))) {}
    torch::nn::Linear first, second;
    torch::Tensor seen;
  };
  TORCH_MODULE(Net);

  Net module(const HeadInput& input) const { return Net(input); }
  torch::Tensor loss(Net& net, const torch::Tensor& h, const Trace& trace) const {
    const auto z = net->first->forward(h).tanh();
    net->seen.lerp_(z.detach().mean(0), 0.1);
    return trace.loss(net->second->forward(z));
  }
};

}  // namespace creditlib::test
