// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cmath>
#include <creditlib/detail/output_positions.hpp>
#include <creditlib/error.hpp>

namespace creditlib {

/// The distance of the outputs to a target of the same shape and dtype, squared where it is small: (z - y)^2 / (2 beta)
/// below beta, |z - y| - beta / 2 from there on.
///
/// - A sample's loss is the mean over its outputs, so that the batch's mean is that of PyTorch's smooth_l1_loss.
/// - Throws Error on use unless beta is finite and > 0.
struct SmoothL1 {
  double beta = 1;

  /// Per sample, (B).
  torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor& target) const {
    return at::smooth_l1_loss(logits, target, at::Reduction::None, beta).flatten(1).mean(1);
  }

  /// dloss_i/dlogits = clamp((logits - target) / beta, -1, 1) / outputs, in the logits' shape.
  torch::Tensor error(const torch::Tensor& logits, const torch::Tensor& target) const {
    return ((logits - target) / beta).clamp(-1, 1) / static_cast<double>(logits.numel() / logits.size(0));
  }

  /// Throws Error unless target has the logits' shape, dtype and device.
  void check(const torch::Tensor& logits, const torch::Tensor& target) const {
    if (!(beta > 0 && std::isfinite(beta))) detail::fail("SmoothL1: beta is ", beta, ", expected a finite number > 0.");
    detail::check_same_as_outputs("SmoothL1", logits, target);
  }
};

}  // namespace creditlib
