// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/sent_to.hpp>

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
  /// float32 and float64, CPU and CUDA get the same numbers. A device is not waited for.
  torch::Tensor randn(torch::IntArrayRef sizes, double deviation = 1) const {
    const auto drawn = at::randn(sizes, generator, torch::TensorOptions(torch::kFloat32)).mul_(deviation);
    return detail::sent_to(device, dtype, drawn);
  }

  /// Draws from U(-bound, bound), in the same way.
  torch::Tensor uniform(torch::IntArrayRef sizes, double bound = 1) const {
    const auto drawn = torch::empty(sizes, torch::kFloat32).uniform_(-bound, bound, generator);
    return detail::sent_to(device, dtype, drawn);
  }
};

}  // namespace creditlib
