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

/// AdamW (Adam with decoupled weight decay; with weight_decay 0 it is Adam) over LibTorch's fused kernel, on the CPU
/// and on CUDA. Gives the same numbers as torch.optim.AdamW, to rounding.
class AdamW {
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
  static constexpr bool graphable = true;  ///< a CUDA graph can hold step()

  AdamW(const std::vector<torch::Tensor>& parameters, const Options& options)
      : AdamW(detail::alike(parameters, options.lr, options.weight_decay), options) {}
  explicit AdamW(const std::vector<torch::Tensor>& parameters) : AdamW(parameters, Options{}) {}
  /// With a rate and a decay per parameter, instead of those of the options.
  AdamW(const std::vector<TrainedParameter>& parameters, const Options& options)
      : parameters_(detail::tensors_of(parameters)),
        options_(options),
        buckets_(detail::make_buckets(parameters, options.lr_in_tensor)),
        means_(detail::zeros_like(parameters_)),
        squares_(detail::zeros_like(parameters_)) {
    for (const auto& parameter : parameters_)
      steps_.push_back(torch::zeros({}, parameter.options().dtype(torch::kFloat32)));
  }

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

  /// What a checkpoint keeps: the moments and step counts. They are the optimizer's own tensors; copy into them to
  /// restore.
  NamedTensors named_tensors() const {
    NamedTensors named = numbered("mean", means_);
    for (auto& entry : numbered("square", squares_)) named.push_back(entry);
    for (auto& entry : numbered("steps", steps_)) named.push_back(entry);
    return named;
  }

 private:
  void update(const detail::Bucket& bucket, const std::vector<torch::Tensor>& all_gradients) {
    std::vector<torch::Tensor> parameters, gradients, means, squares, steps;
    for (const auto i : bucket.members) {
      if (!all_gradients[i].defined()) continue;
      parameters.push_back(parameters_[i]);
      gradients.push_back(all_gradients[i]);
      means.push_back(means_[i]);
      squares.push_back(squares_[i]);
      steps.push_back(steps_[i]);
    }
    if (parameters.empty()) return;
    count(steps);
    bucket.lr.pass_to([&](const auto& lr) {
      at::_fused_adamw_(parameters, gradients, means, squares, {}, steps, lr, options_.beta1, options_.beta2,
                        bucket.weight_decay, options_.eps, /*amsgrad=*/false, /*maximize=*/false);
    });
  }

  /// Adds 1 to each; on the CPU without LibTorch's dispatch, which would take a tenth of the update's time.
  static void count(std::vector<torch::Tensor>& steps) {
    if (!steps.front().is_cpu()) return at::_foreach_add_(steps, 1);
    for (auto& step : steps) *step.mutable_data_ptr<float>() += 1;
  }

  std::vector<torch::Tensor> parameters_;
  Options options_;
  std::vector<detail::Bucket> buckets_;
  std::vector<torch::Tensor> means_, squares_, steps_;
};

}  // namespace creditlib::optim
