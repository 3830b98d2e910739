// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace creditlib::testing {

/// What a rule is by design, and the laws cannot see by themselves. The defaults are strict.
struct LawOptions {
  /// Whether another seed must give another credit. A rule that has no tensors of its own and leaves the generator of
  /// its BindContext alone is known to draw nothing; others that draw nothing say so here.
  bool draws = true;
  /// Whether credit may be the true gradient at all hidden states. A rule that declares wants_pullback may.
  bool true_gradient = false;
  /// Whether a sample's credit must be the same in another batch. For a rule that declares couples_samples it need not.
  bool per_sample = true;
};

}  // namespace creditlib::testing
