// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/team.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/optim/detail/element_shares.hpp>
#include <creditlib/optim/detail/fused_optimizer.hpp>
#include <creditlib/optim/detail/optimizer_parameters.hpp>
#include <creditlib/trained_parameter.hpp>
#include <vector>

namespace creditlib::optim {

/// Stochastic gradient descent with momentum and (coupled) weight decay over LibTorch's fused kernel, on the CPU and on
/// CUDA. Gives the same numbers as torch.optim.SGD without dampening, to rounding.
class SGD : public detail::FusedOptimizer<SGD> {
 public:
  struct Options {
    double lr = 1e-3;
    double weight_decay = 0.01;
    double momentum = 0.9;
    /// Keeps the rate in a float32 tensor on the CPU too, as always on CUDA: for comparisons with CUDA.
    bool lr_in_tensor = false;
  };

  SGD(const std::vector<torch::Tensor>& parameters, const Options& options)
      : SGD(alike(parameters, options.lr, options.weight_decay), options) {}
  explicit SGD(const std::vector<torch::Tensor>& parameters) : SGD(parameters, Options{}) {}
  /// With a rate and a decay per parameter, instead of those of the options.
  SGD(const std::vector<TrainedParameter>& parameters, const Options& options)
      : FusedOptimizer(parameters, options.lr, options.lr_in_tensor),
        options_(options),
        velocities_(detail::zeros_like(parameters_)) {}

  /// What a checkpoint keeps: the velocities. They are the optimizer's own tensors; copy into them to restore.
  NamedTensors named_tensors() const { return numbered("velocity", velocities_); }
  /// That of parameter i.
  std::vector<torch::Tensor> tensors_of(std::size_t i) const { return {velocities_[i]}; }

 private:
  friend FusedOptimizer;

  void update(const Bucket& bucket, const std::vector<detail::KernelPair>& pairs) {
    std::vector<torch::Tensor> parameters, gradients, velocities;
    for (const auto i : bucket.members) {
      if (!pairs[i].gradient.defined()) continue;
      parameters.push_back(pairs[i].parameter);
      gradients.push_back(pairs[i].gradient);
      if (options_.momentum != 0) velocities.push_back(velocities_[i]);  // without momentum the kernel takes none
    }
    if (parameters.empty()) return;
    // Velocities start at 0, so the first step needs no special case.
    const detail::ElementShares shares(parameters);
    detail::in_shares(shares.count(), [&](std::int64_t i) {
      const auto momenta = velocities.empty() ? velocities : shares.of(velocities, i);
      bucket.lr.pass_to([&](const auto& lr) {
        at::_fused_sgd_(shares.of(parameters, i), shares.of(gradients, i), momenta, bucket.weight_decay,
                        options_.momentum, lr, /*dampening=*/0, /*nesterov=*/false, /*maximize=*/false,
                        /*is_first_step=*/false);
      });
    });
  }

  Options options_;
  std::vector<torch::Tensor> velocities_;
};

}  // namespace creditlib::optim
