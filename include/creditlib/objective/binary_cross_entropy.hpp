// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/output_positions.hpp>
#include <creditlib/error.hpp>

namespace creditlib {

/// Binary cross-entropy of each logit with a target in 0..1 of the same shape and dtype: several labels per sample.
///
/// - A sample's loss is the mean over its outputs, so that the batch's mean is that of PyTorch's
///   binary_cross_entropy_with_logits.
struct BinaryCrossEntropy {
  /// Per sample, (B).
  torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor& target) const {
    return at::binary_cross_entropy_with_logits(logits, target, {}, {}, at::Reduction::None).flatten(1).mean(1);
  }

  /// dloss_i/dlogits = (sigmoid(logits) - target) / outputs, in the logits' shape.
  torch::Tensor error(const torch::Tensor& logits, const torch::Tensor& target) const {
    return (logits.sigmoid() - target) / static_cast<double>(logits.numel() / logits.size(0));
  }

  /// Throws Error unless target has the logits' shape, dtype and device and, on the CPU, lies in 0..1.
  void check(const torch::Tensor& logits, const torch::Tensor& target) const {
    detail::check_same_as_outputs("BinaryCrossEntropy", logits, target);
    if (!target.is_cpu()) return;
    const auto wrong = nearest(target).ne(target);
    if (!wrong.any().item<bool>()) return;
    detail::fail("BinaryCrossEntropy: a target is ", target.masked_select(wrong)[0].item<double>(),
                 ", expected 0 to 1.");
  }

  /// Targets on other devices than the CPU, which check does not look at, with the nearest value in 0..1; undefined on
  /// the CPU.
  torch::Tensor in_range(const torch::Tensor&, const torch::Tensor& target) const {
    return target.is_cpu() ? torch::Tensor() : nearest(target);
  }

 protected:
  static torch::Tensor nearest(const torch::Tensor& target) { return at::where(target.gt(0), target, 0).clamp_max_(1); }
};

}  // namespace creditlib
