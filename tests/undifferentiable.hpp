// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>

#include <creditlib/model/sequential_blocks.hpp>
#include <tuple>

#include "models.hpp"
#include "test.hpp"

/// Layers whose backward pass cannot be differentiated, and a network that has one.
namespace creditlib::test {

/// h + 2h, whose gradient is written behind autograd's back.
struct Behind : torch::autograd::Function<Behind> {
  static torch::Tensor forward(torch::autograd::AutogradContext*, const torch::Tensor& h) { return 2 * h; }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext*,
                                               const torch::autograd::tensor_list& g) {
    auto doubled = torch::empty_like(g[0].detach());
    for (std::int64_t i = 0; i < doubled.numel(); ++i) {
      doubled.mutable_data_ptr<double>()[i] = 2 * g[0].data_ptr<double>()[i];
    }
    return {doubled};
  }
};
struct BehindAutogradImpl : torch::nn::Module {
  torch::Tensor forward(const torch::Tensor& h) { return h + Behind::apply(h); }
};
TORCH_MODULE(BehindAutograd);
/// Attention by a kernel that LibTorch can differentiate once.
struct FusedAttentionImpl : torch::nn::Module {
  torch::Tensor forward(const torch::Tensor& h) {
    const auto all = h.view({h.size(0), 1, h.size(1), 1});
    return std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu(all, all, all)).reshape(h.sizes());
  }
};
TORCH_MODULE(FusedAttention);

/// Two blocks, the second with this layer on top.
template <class Layer>
SequentialBlocks with_layer(const Layer& layer) {
  using namespace torch::nn;
  torch::manual_seed(1);
  SequentialBlocks model(
      SequentialBlocksOptions{.embed = Sequential(Linear(6, 5)),
                              .blocks = {Sequential(Linear(5, 5), Tanh()), Sequential(Linear(5, 5), layer)},
                              .readout = Sequential(Linear(5, 4)),
                              .example = torch::zeros({1, 6})});
  return lively(model, torch::kFloat64);
}

}  // namespace creditlib::test
