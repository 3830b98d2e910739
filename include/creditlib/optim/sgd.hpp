// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/error.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/optim/detail/buckets.hpp>
#include <creditlib/optim/detail/optimizer_parameters.hpp>
#include <utility>
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
  static constexpr bool graphable = true;  ///< a CUDA graph can hold step()

  SGD(const std::vector<torch::Tensor>& parameters, const Options& options)
      : SGD(detail::alike(parameters, options.lr, options.weight_decay), options) {}
  explicit SGD(const std::vector<torch::Tensor>& parameters) : SGD(parameters, Options{}) {}
  /// With a rate and a decay per parameter, instead of those of the options.
  SGD(const std::vector<TrainedParameter>& parameters, const Options& options)
      : parameters_(detail::tensors_of(parameters)),
        options_(options),
        buckets_(detail::make_buckets(parameters, options.lr_in_tensor)),
        velocities_(detail::zeros_like(parameters_)) {}

  /// The rate of every parameter.
  void set_lr(double lr) {
    for (auto& bucket : buckets_) bucket.lr.set(lr);
  }
  /// Each parameter's own rate times this factor.
  void set_rate(double factor) {
    for (auto& bucket : buckets_) bucket.lr.set(bucket.base_lr * factor);
  }
  /// The rate of the first parameter.
  double lr() const { return buckets_.empty() ? options_.lr : buckets_.front().lr.value(); }

  /// One step with each parameter's .grad(); a parameter without one is left unchanged. Does not wait for the device.
  ///
  /// - Throws Error, before anything is changed, if a gradient's shape, dtype or device differs from its parameter's.
  void step() {
    detail::translated([&] {
      const torch::NoGradGuard no_grad;
      const auto gradients = detail::aligned_gradients(parameters_);
      for (const auto& bucket : buckets_) update(bucket, gradients);
    });
  }

  /// What a checkpoint keeps: the velocities. They are the optimizer's own tensors; copy into them to restore.
  NamedTensors named_tensors() const { return numbered("velocity", velocities_); }

 private:
  void update(const detail::Bucket& bucket, const std::vector<torch::Tensor>& all_gradients) {
    std::vector<torch::Tensor> parameters, gradients, velocities;
    for (const auto i : bucket.members) {
      if (!all_gradients[i].defined()) continue;
      parameters.push_back(parameters_[i]);
      gradients.push_back(all_gradients[i]);
      if (options_.momentum != 0) velocities.push_back(velocities_[i]);  // without momentum the kernel takes none
    }
    if (parameters.empty()) return;
    // Velocities start at 0, so the first step needs no special case.
    bucket.lr.pass_to([&](const auto& lr) {
      at::_fused_sgd_(parameters, gradients, velocities, bucket.weight_decay, options_.momentum, lr, /*dampening=*/0,
                      /*nesterov=*/false, /*maximize=*/false, /*is_first_step=*/false);
    });
  }

  std::vector<torch::Tensor> parameters_;
  Options options_;
  std::vector<detail::Bucket> buckets_;
  std::vector<torch::Tensor> velocities_;
};

}  // namespace creditlib::optim
