#pragma once

#include <torch/types.h>

namespace creditlib {

/// Credit for (B, d) hidden states that is kept as a product of two thin matrices, and never multiplied out where that
/// is not needed:
///
///     a = left right^T,    left (B, r), right (d, r)
struct FactoredCredit {
  torch::Tensor left, right;

  bool defined() const { return left.defined(); }
  /// Whether a product with the factors, r (B + d) multiplications for each of its rows or columns, saves a quarter or
  /// more of the B d of one with a itself.
  bool saves_work() const {
    const auto batch = left.size(0), features = right.size(0), rank = left.size(1);
    return 4 * rank * (batch + features) <= 3 * batch * features;
  }
  /// a itself, (B, d).
  torch::Tensor dense() const { return left.mm(right.t()); }
  /// factor, (B, 1) or a number, times a.
  FactoredCredit scaled(const torch::Tensor& factor) const { return {left * factor, right}; }
  FactoredCredit scaled(double factor) const { return {left * factor, right}; }
};

}  // namespace creditlib
