// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>

namespace creditlib {

/// Half the squared distance of the outputs (B, C) to a target of the same shape and dtype.
struct SquaredError {
  /// 1/2 ||logits_b - target_b||^2 per sample, (B).
  torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor& target) const {
    return (logits - target).square().sum(1) / 2;
  }

  /// dloss_i/dlogits = logits - target, (B, C).
  torch::Tensor error(const torch::Tensor& logits, const torch::Tensor& target) const { return logits - target; }

  /// Throws Error unless target has the logits' shape, dtype and device.
  void check(const torch::Tensor& logits, const torch::Tensor& target) const {
    if (!target.defined() || target.sizes() != logits.sizes() || target.scalar_type() != logits.scalar_type() ||
        target.device() != logits.device()) {
      detail::fail("SquaredError: the target is ", detail::tensor_text(target), ", expected ",
                   detail::tensor_text(logits), ".");
    }
  }
};

}  // namespace creditlib
