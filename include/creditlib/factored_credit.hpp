// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

namespace creditlib {

/// Credit for (B, d) hidden states, kept as a product of two thin matrices and multiplied out only if needed.
///
///     a = diag(scale) left right^T,    left (B, r), right (d, r), scale (B, 1)
///
/// Hidden states differ only in `right`, which the source keeps anyway, and in one number per sample: `left` can be the
/// same tensor for all of them.
struct FactoredCredit {
  torch::Tensor left, right;
  /// 1 if undefined.
  torch::Tensor scale = {};

  bool defined() const { return left.defined(); }
  /// Whether multiplying by the factors, r (B + d) multiplications per row or column, saves at least a quarter of the B
  /// d multiplications that the dense a needs.
  bool saves_work() const {
    const auto batch = left.size(0), features = right.size(0), rank = left.size(1);
    return 4 * rank * (batch + features) <= 3 * batch * features;
  }
  /// The dense a, (B, d).
  torch::Tensor dense() const { return (scale.defined() ? left * scale : left).mm(right.t()); }
  /// a times factor, (B, 1) or (1).
  FactoredCredit scaled(const torch::Tensor& factor) const {
    return {left, right, scale.defined() ? scale * factor : factor};
  }
  FactoredCredit scaled(double factor) const {
    return {left, right, scale.defined() ? scale * factor : torch::full({left.size(0), 1}, factor, left.options())};
  }
};

}  // namespace creditlib
