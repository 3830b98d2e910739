// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/objective/binary_cross_entropy.hpp>
#include <creditlib/objective/cross_entropy.hpp>

namespace weight_transport {

/// Each class against all others: the sum over logits (B, C) of the binary cross-entropy with whether the label (B),
/// int64, is that class. The error at the logits is sigmoid(logits) - onehot(label).
struct OneAgainstOthers {
  torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor& label) const {
    return creditlib::BinaryCrossEntropy{}.loss(logits, wanted(logits, label)) * static_cast<double>(logits.size(1));
  }
  torch::Tensor error(const torch::Tensor& logits, const torch::Tensor& label) const {
    return logits.sigmoid() - wanted(logits, label);
  }
  torch::Tensor correct(const torch::Tensor& logits, const torch::Tensor& label) const {
    return creditlib::CrossEntropy{}.correct(logits, label);
  }
  void check(const torch::Tensor& logits, const torch::Tensor& label) const {
    creditlib::CrossEntropy{}.check(logits, label);
  }

 private:
  static torch::Tensor wanted(const torch::Tensor& logits, const torch::Tensor& label) {
    return at::one_hot(label, logits.size(1)).to(logits.scalar_type());
  }
};

}  // namespace weight_transport
