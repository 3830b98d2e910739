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
  /// On the device, with Draws::Device; otherwise undefined.
  torch::Generator device_generator = {};
  /// Whether the trainer's objective takes class labels, int64, one per sample or position: CrossEntropy does,
  /// SquaredError does not.
  bool labels = true;

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

  /// randn for the numbers of a step, which are drawn on the device with TrainerOptions::draws = Draws::Device.
  torch::Tensor step_randn(torch::IntArrayRef sizes, double deviation = 1) const {
    if (!device_generator.defined()) return randn(sizes, deviation);
    const auto options = torch::TensorOptions(torch::kFloat32).device(device);
    return at::randn(sizes, device_generator, options).mul_(deviation).to(dtype);
  }
  /// uniform in the same way.
  torch::Tensor step_uniform(torch::IntArrayRef sizes, double bound = 1) const {
    if (!device_generator.defined()) return uniform(sizes, bound);
    const auto options = torch::TensorOptions(torch::kFloat32).device(device);
    return torch::empty(sizes, options).uniform_(-bound, bound, device_generator).to(dtype);
  }
};

}  // namespace creditlib
