// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/detail/expect.hpp>
#include <creditlib/loss/inner_product.hpp>

namespace creditlib {

/// InnerProduct plus a penalty on the size of the block's own branch.
///
///     (1/B) sum_b ( <f_b, a_b> + lambda ||f_b||^2 )
///
/// - With unit-RMS credit its minimum lies at ||f|| = sqrt(d) / (2 lambda). The embed has no penalty.
/// - Throws Error on use unless lambda is finite and >= 0.
struct PenalizedInnerProduct {
  double lambda = 1e-2;
  bool mean_over_positions = false;

  torch::Tensor operator()(const torch::Tensor& f, const torch::Tensor& a) const {
    check();
    const auto inner = embed_loss();
    return inner(f, a) + lambda * inner(f, f);
  }

  /// d/df of the loss, in the shape of f.
  torch::Tensor output_gradient(const torch::Tensor& f, const torch::Tensor& a) const {
    check();
    return embed_loss().output_gradient(f, torch::add(a, f, 2 * lambda));
  }

  InnerProduct embed_loss() const { return {.mean_over_positions = mean_over_positions}; }

 private:
  void check() const { detail::expect::not_negative("PenalizedInnerProduct", "lambda", lambda); }
};

}  // namespace creditlib
