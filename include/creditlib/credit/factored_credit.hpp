#pragma once

#include <torch/types.h>

namespace creditlib {

/// Credit for (B, d) hidden states that is kept as a product of two thin matrices, and never multiplied out where that is
/// not needed:
///
///     a = left right^T,    left (B, r), right (d, r)
struct FactoredCredit {
  torch::Tensor left, right;

  bool defined() const { return left.defined(); }
  /// a itself, (B, d).
  torch::Tensor dense() const { return left.mm(right.t()); }
};

}  // namespace creditlib
