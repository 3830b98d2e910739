// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>

#include <cstdint>

namespace creditlib::detail {

/// The MLP of a transformer's block: Linear(width, hidden), GELU, Linear(hidden, width).
///
/// Its layers are made one after another, so that a seed gives the same weights under every compiler: the order in
/// which the arguments of one call are made is the compiler's choice.
inline torch::nn::Sequential transformer_mlp(std::int64_t width, std::int64_t hidden) {
  torch::nn::Sequential layers;
  layers->push_back(torch::nn::Linear(width, hidden));
  layers->push_back(torch::nn::GELU());
  layers->push_back(torch::nn::Linear(hidden, width));
  return layers;
}

}  // namespace creditlib::detail
