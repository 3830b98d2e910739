// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/error.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/optim/detail/learning_rate.hpp>
#include <creditlib/optim/detail/optimizer_parameters.hpp>
#include <vector>

namespace creditlib::optim {

/// Stochastic gradient descent with momentum and (coupled) weight decay over LibTorch's fused kernel, on the CPU and on
/// CUDA. Gives the same numbers as torch.optim.SGD without dampening, to rounding.
class SGD {
 public:
  struct Options {
    double lr = 1e-3;
    double weight_decay = 0.01;
    double momentum = 0.9;
    /// Keeps the rate in a float32 tensor on the CPU too, as always on CUDA: for comparisons with CUDA.
    bool lr_in_tensor = false;
  };

  SGD(std::vector<torch::Tensor> parameters, const Options& options)
      : parameters_(std::move(parameters)),
        options_(options),
        lr_(options.lr, parameters_, options.lr_in_tensor),
        velocities_(detail::zeros_like(parameters_)) {}
  explicit SGD(std::vector<torch::Tensor> parameters) : SGD(std::move(parameters), Options{}) {}

  void set_lr(double lr) { lr_.set(lr); }
  double lr() const { return lr_.value(); }

  /// One step with each parameter's .grad(); a parameter without one is left unchanged. Does not wait for the device.
  ///
  /// - Throws Error, before anything is changed, if a gradient's shape, dtype or device differs from its parameter's.
  void step() {
    detail::translated([&] {
      const torch::NoGradGuard no_grad;
      std::vector<torch::Tensor> parameters, gradients, velocities;
      for (std::size_t i = 0; i < parameters_.size(); ++i) {
        auto gradient = detail::aligned_gradient(parameters_[i]);
        if (!gradient.defined()) continue;
        parameters.push_back(parameters_[i]);
        gradients.push_back(std::move(gradient));
        if (options_.momentum != 0) velocities.push_back(velocities_[i]);  // without momentum the kernel takes none
      }
      if (parameters.empty()) return;
      // Velocities start at 0, so the first step needs no special case.
      lr_.pass_to([&](const auto& lr) {
        at::_fused_sgd_(parameters, gradients, velocities, options_.weight_decay, options_.momentum, lr,
                        /*dampening=*/0,
                        /*nesterov=*/false, /*maximize=*/false, /*is_first_step=*/false);
      });
    });
  }

  /// What a checkpoint keeps: the velocities. They are the optimizer's own tensors; copy into them to restore.
  NamedTensors named_tensors() const { return numbered("velocity", velocities_); }

 private:
  std::vector<torch::Tensor> parameters_;
  Options options_;
  detail::LearningRate lr_;
  std::vector<torch::Tensor> velocities_;
};

}  // namespace creditlib::optim
