// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/error.hpp>
#include <creditlib/optim/detail/learning_rate.hpp>
#include <creditlib/optim/detail/optimizer_parameters.hpp>
#include <creditlib/trained_parameter.hpp>
#include <cstddef>
#include <vector>

namespace creditlib::detail {

/// What optimizers over LibTorch's fused kernels share: the parameters, in buckets of one rate and weight decay, and
/// when each bucket is updated. Derived has the kernel: `update(bucket, pairs)`, with the pairs of all parameters.
template <class Derived>
class FusedOptimizer {
 public:
  static constexpr bool graphable = true;  ///< a CUDA graph can hold step()

  /// The rate of every parameter.
  void set_lr(double lr) {
    for (auto& bucket : buckets_) bucket.lr.set(lr);
  }
  /// Each parameter's own rate times this factor.
  void set_rate(double factor) {
    for (auto& bucket : buckets_) bucket.lr.set(bucket.base_lr * factor);
  }
  /// The rate of the first parameter.
  double lr() const { return buckets_.empty() ? lr_of_none_ : buckets_.front().lr.value(); }

  /// One step with each parameter's .grad(); a parameter without one is left unchanged. Does not wait for the device.
  ///
  /// - A parameter may be a view, with gaps between its elements in memory.
  /// - Throws Error, before anything is changed, if a gradient's shape, dtype or device differs from its parameter's, or
  ///   if elements of a parameter share memory.
  void step() {
    translated([&] {
      const torch::NoGradGuard no_grad;
      const auto pairs = kernel_pairs(parameters_);
      for (const auto& bucket : buckets_) static_cast<Derived&>(*this).update(bucket, pairs);
      for (std::size_t i = 0; i < pairs.size(); ++i) {
        if (!pairs[i].parameter.is_same(parameters_[i])) parameters_[i].copy_(pairs[i].parameter);
      }
    });
  }

 protected:
  /// The parameters that one call of the kernel updates.
  struct Bucket {
    double base_lr, weight_decay;
    LearningRate lr;
    std::vector<std::size_t> members;  ///< positions in parameters_
  };

  /// `lr_of_none` is what lr() says if there are no parameters.
  FusedOptimizer(const std::vector<TrainedParameter>& trained, double lr_of_none, bool lr_in_tensor)
      : lr_of_none_(lr_of_none) {
    for (std::size_t i = 0; i < trained.size(); ++i) {
      const auto& own = trained[i];
      parameters_.push_back(own.parameter);
      auto bucket = std::ranges::find_if(buckets_, [&](const Bucket& other) {
        return other.base_lr == own.lr && other.weight_decay == own.weight_decay;
      });
      if (bucket == buckets_.end()) {
        buckets_.push_back({own.lr, own.weight_decay, LearningRate(own.lr, {own.parameter}, lr_in_tensor), {}});
        bucket = buckets_.end() - 1;
      }
      bucket->members.push_back(i);
    }
  }
  ~FusedOptimizer() = default;
  FusedOptimizer(const FusedOptimizer&) = default;
  FusedOptimizer(FusedOptimizer&&) = default;
  FusedOptimizer& operator=(const FusedOptimizer&) = default;
  FusedOptimizer& operator=(FusedOptimizer&&) = default;

  /// Parameters that all have one rate and decay.
  static std::vector<TrainedParameter> alike(const std::vector<torch::Tensor>& parameters, double lr,
                                             double weight_decay) {
    std::vector<TrainedParameter> trained;
    for (const auto& parameter : parameters) trained.push_back({parameter, lr, weight_decay});
    return trained;
  }

  std::vector<torch::Tensor> parameters_;

 private:
  std::vector<Bucket> buckets_;
  double lr_of_none_;
};

}  // namespace creditlib::detail
