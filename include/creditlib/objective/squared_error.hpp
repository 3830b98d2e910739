// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/output_positions.hpp>
#include <creditlib/error.hpp>

namespace creditlib {

/// Half the squared distance of the outputs to a target of the same shape and dtype.
///
/// - Outputs (B, C), (B, N, C) or (B, C, H, W); with positions, the mean over them.
struct SquaredError {
  /// 1/2 ||logits_b - target_b||^2 per sample, (B).
  torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor& target) const {
    if (logits.dim() == 2) return (logits - target).square().sum(1) / 2;
    return (logits - target).square().flatten(1).sum(1) / (2.0 * static_cast<double>(positions(logits)));
  }

  /// dloss_i/dlogits = logits - target, divided by the number of positions.
  torch::Tensor error(const torch::Tensor& logits, const torch::Tensor& target) const {
    if (logits.dim() == 2) return logits - target;
    return (logits - target) / static_cast<double>(positions(logits));
  }

  /// Throws Error unless target has the logits' shape, dtype and device.
  void check(const torch::Tensor& logits, const torch::Tensor& target) const {
    detail::check_same_as_outputs("SquaredError", logits, target);
  }

 private:
  static std::int64_t positions(const torch::Tensor& logits) { return detail::output_positions(logits.sizes()); }
};

}  // namespace creditlib
