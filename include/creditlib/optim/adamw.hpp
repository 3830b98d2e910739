// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/error.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/optim/detail/learning_rate.hpp>
#include <creditlib/optim/detail/optimizer_parameters.hpp>
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

  AdamW(std::vector<torch::Tensor> parameters, const Options& options)
      : parameters_(std::move(parameters)),
        options_(options),
        lr_(options.lr, parameters_, options.lr_in_tensor),
        means_(detail::zeros_like(parameters_)),
        squares_(detail::zeros_like(parameters_)) {
    for (const auto& parameter : parameters_)
      steps_.push_back(torch::zeros({}, parameter.options().dtype(torch::kFloat32)));
  }
  explicit AdamW(std::vector<torch::Tensor> parameters) : AdamW(std::move(parameters), Options{}) {}

  void set_lr(double lr) { lr_.set(lr); }
  double lr() const { return lr_.value(); }

  /// One step with each parameter's .grad(); a parameter without one is left unchanged. Does not wait for the device.
  ///
  /// - Throws Error, before anything is changed, if a gradient's shape, dtype or device differs from its parameter's.
  void step() {
    detail::translated([&] {
      const torch::NoGradGuard no_grad;
      std::vector<torch::Tensor> parameters, gradients, means, squares, steps;
      for (std::size_t i = 0; i < parameters_.size(); ++i) {
        auto gradient = detail::aligned_gradient(parameters_[i]);
        if (!gradient.defined()) continue;
        parameters.push_back(parameters_[i]);
        gradients.push_back(std::move(gradient));
        means.push_back(means_[i]);
        squares.push_back(squares_[i]);
        steps.push_back(steps_[i]);
      }
      if (parameters.empty()) return;
      count(steps);
      lr_.pass_to([&](const auto& lr) {
        at::_fused_adamw_(parameters, gradients, means, squares, {}, steps, lr, options_.beta1, options_.beta2,
                          options_.weight_decay, options_.eps, /*amsgrad=*/false, /*maximize=*/false);
      });
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
  /// Adds 1 to each; on the CPU without LibTorch's dispatch, which would take a tenth of the update's time.
  static void count(std::vector<torch::Tensor>& steps) {
    if (!steps.front().is_cpu()) return at::_foreach_add_(steps, 1);
    for (auto& step : steps) *step.mutable_data_ptr<float>() += 1;
  }

  std::vector<torch::Tensor> parameters_;
  Options options_;
  detail::LearningRate lr_;
  std::vector<torch::Tensor> means_, squares_, steps_;
};

}  // namespace creditlib::optim
