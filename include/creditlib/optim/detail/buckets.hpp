// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/optim/detail/learning_rate.hpp>
#include <creditlib/trained_parameter.hpp>
#include <cstddef>
#include <vector>

namespace creditlib::detail {

/// The parameters that one call of a fused kernel updates: those of one learning rate and weight decay.
struct Bucket {
  double base_lr, weight_decay;
  LearningRate lr;
  std::vector<std::size_t> members;  ///< positions in the optimizer's parameters
};

inline std::vector<Bucket> make_buckets(const std::vector<TrainedParameter>& trained, bool lr_in_tensor) {
  std::vector<Bucket> buckets;
  for (std::size_t i = 0; i < trained.size(); ++i) {
    const auto& own = trained[i];
    auto bucket = std::ranges::find_if(buckets, [&](const Bucket& other) {
      return other.base_lr == own.lr && other.weight_decay == own.weight_decay;
    });
    if (bucket == buckets.end()) {
      buckets.push_back({own.lr, own.weight_decay, LearningRate(own.lr, {own.parameter}, lr_in_tensor), {}});
      bucket = buckets.end() - 1;
    }
    bucket->members.push_back(i);
  }
  return buckets;
}

inline std::vector<TrainedParameter> alike(const std::vector<torch::Tensor>& parameters, double lr,
                                           double weight_decay) {
  std::vector<TrainedParameter> trained;
  for (const auto& parameter : parameters) trained.push_back({parameter, lr, weight_decay});
  return trained;
}

inline std::vector<torch::Tensor> tensors_of(const std::vector<TrainedParameter>& trained) {
  std::vector<torch::Tensor> tensors;
  for (const auto& each : trained) tensors.push_back(each.parameter);
  return tensors;
}

}  // namespace creditlib::detail
