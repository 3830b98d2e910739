// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

namespace creditlib {

/// What `bind` receives: where the source's tensors live and where its random numbers come from.
struct BindContext {
  /// The model's, at the time the trainer was made.
  torch::Device device;
  torch::Dtype dtype;
  /// On the CPU, seeded by TrainerOptions::seed; each source of a Mix has its own generator. LibTorch's global
  /// generator is never used.
  torch::Generator generator;

  /// Draws from N(0, deviation^2). Numbers are drawn and scaled in float32 on the CPU, then cast and moved, so that
  /// float32 and float64, CPU and CUDA get the same numbers.
  torch::Tensor randn(torch::IntArrayRef sizes, double deviation = 1) const {
    return at::randn(sizes, generator, torch::TensorOptions(torch::kFloat32)).mul_(deviation).to(device, dtype);
  }

  /// Draws from U(-bound, bound), in the same way.
  torch::Tensor uniform(torch::IntArrayRef sizes, double bound = 1) const {
    return torch::empty(sizes, torch::kFloat32).uniform_(-bound, bound, generator).to(device, dtype);
  }
};

}  // namespace creditlib
