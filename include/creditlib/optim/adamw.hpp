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

/// AdamW (Adam with decoupled weight decay; with weight_decay 0 it is Adam) over LibTorch's fused kernel, on the CPU
/// and on CUDA. Gives the same numbers as torch.optim.AdamW, to rounding.
class AdamW : public detail::FusedOptimizer<AdamW> {
 public:
  struct Options {
    double lr = 1e-3;
    double weight_decay = 0.01;
    double beta1 = 0.9;
    double beta2 = 0.999;
    double eps = 1e-8;
    /// Keeps the rate in a float32 tensor on the CPU too, as always on CUDA: for comparisons with CUDA.
    bool lr_in_tensor = false;
  };

  AdamW(const std::vector<torch::Tensor>& parameters, const Options& options)
      : AdamW(alike(parameters, options.lr, options.weight_decay), options) {}
  explicit AdamW(const std::vector<torch::Tensor>& parameters) : AdamW(parameters, Options{}) {}
  /// With a rate and a decay per parameter, instead of those of the options.
  AdamW(const std::vector<TrainedParameter>& parameters, const Options& options)
      : FusedOptimizer(parameters, options.lr, options.lr_in_tensor),
        options_(options),
        means_(detail::zeros_like(parameters_)),
        squares_(detail::zeros_like(parameters_)) {
    for (const auto& parameter : parameters_)
      steps_.push_back(torch::zeros({}, parameter.options().dtype(torch::kFloat32)));
  }

  /// What a checkpoint keeps: the moments and step counts. They are the optimizer's own tensors; copy into them to
  /// restore.
  NamedTensors named_tensors() const {
    NamedTensors named = numbered("mean", means_);
    for (auto& entry : numbered("square", squares_)) named.push_back(entry);
    for (auto& entry : numbered("steps", steps_)) named.push_back(entry);
    return named;
  }
  /// Those of parameter i.
  std::vector<torch::Tensor> tensors_of(std::size_t i) const { return {means_[i], squares_[i], steps_[i]}; }

 private:
  friend FusedOptimizer;

  void update(const Bucket& bucket, const std::vector<detail::KernelPair>& pairs) {
    std::vector<torch::Tensor> parameters, gradients, means, squares, steps;
    for (const auto i : bucket.members) {
      if (!pairs[i].gradient.defined()) continue;
      parameters.push_back(pairs[i].parameter);
      gradients.push_back(pairs[i].gradient);
      means.push_back(means_[i]);
      squares.push_back(squares_[i]);
      steps.push_back(steps_[i]);
    }
    if (parameters.empty()) return;
    count(steps);
    const detail::ElementShares shares(parameters);
    detail::in_shares(shares.count(), [&](std::int64_t i) {
      bucket.lr.pass_to([&](const auto& lr) {
        at::_fused_adamw_(shares.of(parameters, i), shares.of(gradients, i), shares.of(means, i), shares.of(squares, i),
                          {}, shares.whole(steps, i), lr, options_.beta1, options_.beta2, bucket.weight_decay,
                          options_.eps, /*amsgrad=*/false, /*maximize=*/false);
      });
    });
  }

  /// Adds 1 to each; on the CPU without LibTorch's dispatch, which would take a tenth of the update's time.
  static void count(std::vector<torch::Tensor>& steps) {
    if (!steps.front().is_cpu()) return at::_foreach_add_(steps, 1);
    for (auto& step : steps) *step.mutable_data_ptr<float>() += 1;
  }

  Options options_;
  std::vector<torch::Tensor> means_, squares_, steps_;
};

}  // namespace creditlib::optim
