// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/objective/detail/plain_cross_entropy.hpp>
#include <utility>

namespace creditlib::detail {

/// The mean of an objective's losses over the batch, a scalar, and its errors. Not on the logits' graph.
template <class Objective>
std::pair<torch::Tensor, torch::Tensor> loss_and_error(const Objective& objective, const torch::Tensor& logits,
                                                       const torch::Tensor& target) {
  const torch::NoGradGuard no_grad;
  auto error = objective.error(logits, target);
  return {objective.loss(logits, target).mean(), std::move(error)};
}

/// The same, on a device in fewer kernels; not of objectives that derive from it, whose loss or error may be another.
inline std::pair<torch::Tensor, torch::Tensor> loss_and_error(const CrossEntropy& objective,
                                                              const torch::Tensor& logits,
                                                              const torch::Tensor& target) {
  if (!target.is_cpu() && objective.one_class_each(target) && !objective.sum_over_positions) {
    return mean_and_errors_of_counted(logits, target, objective.ignore_index);
  }
  return loss_and_error<CrossEntropy>(objective, logits, target);
}

}  // namespace creditlib::detail
