// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>

namespace creditlib {

/// Cross-entropy of the logits (B, C) with int64 labels (B) in 0..C-1.
struct CrossEntropy {
  /// Per sample, (B).
  torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor& target) const {
    return at::cross_entropy_loss(logits, target, {}, at::Reduction::None);
  }

  /// dloss_i/dlogits = softmax(logits) - onehot(target), (B, C).
  torch::Tensor error(const torch::Tensor& logits, const torch::Tensor& target) const {
    auto e = logits.softmax(1);
    const auto column = target.unsqueeze(1);
    return e.scatter_add_(1, column, torch::full({1, 1}, -1.0, e.options()).expand_as(column));
  }

  /// The number of samples whose largest logit is at their label, as a scalar tensor.
  torch::Tensor correct(const torch::Tensor& logits, const torch::Tensor& target) const {
    return logits.argmax(1).eq(target).sum();
  }

  /// Throws Error unless target is int64, of shape (B), on the logits' device and, if that is the CPU, in 0..C-1.
  void check(const torch::Tensor& logits, const torch::Tensor& target) const {
    if (!target.defined() || target.dim() != 1 || target.size(0) != logits.size(0) ||
        target.scalar_type() != torch::kInt64 || target.device() != logits.device()) {
      detail::fail("CrossEntropy: the target is ", detail::tensor_text(target), ", expected ",
                   detail::shape_text({logits.size(0)}), " int64 on ", logits.device(),
                   ": one class index per sample.");
    }
    if (!target.device().is_cpu() || target.numel() == 0) return;
    const auto [low, high] = target.aminmax();
    const auto least = low.item<std::int64_t>(), most = high.item<std::int64_t>();
    if (least < 0 || most >= logits.size(1)) {
      detail::fail("CrossEntropy: a label is ", least < 0 ? least : most, ", expected 0..", logits.size(1) - 1,
                   " (the model has ", logits.size(1), " classes).");
    }
  }
};

}  // namespace creditlib
