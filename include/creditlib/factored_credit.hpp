#pragma once

#include <torch/types.h>

namespace creditlib {

/// Credit for (B, d) hidden states that is kept as a product of two thin matrices, and never multiplied out where that
/// is not needed:
///
///     a = diag(scale) left right^T,    left (B, r), right (d, r), scale (B, 1)
///
/// What differs from one hidden state to the next is then right, which the source keeps anyway, and one number a
/// sample: left may be the same tensor for all.
struct FactoredCredit {
  torch::Tensor left, right;
  /// Undefined: 1.
  torch::Tensor scale = {};

  bool defined() const { return left.defined(); }
  /// Whether a product with the factors, r (B + d) multiplications for each of its rows or columns, saves a quarter or
  /// more of the B d of one with a itself.
  bool saves_work() const {
    const auto batch = left.size(0), features = right.size(0), rank = left.size(1);
    return 4 * rank * (batch + features) <= 3 * batch * features;
  }
  /// a itself, (B, d).
  torch::Tensor dense() const { return (scale.defined() ? left * scale : left).mm(right.t()); }
  /// factor (B, 1) or (1) times a.
  FactoredCredit scaled(const torch::Tensor& factor) const {
    return {left, right, scale.defined() ? scale * factor : factor};
  }
  FactoredCredit scaled(double factor) const {
    return {left, right, scale.defined() ? scale * factor : torch::full({left.size(0), 1}, factor, left.options())};
  }
};

}  // namespace creditlib
