// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>

namespace creditlib {

namespace detail {

/// The number of positions of a hidden state of these sizes: H*W for (B, C, H, W), D*H*W for (B, C, D, H, W), N for
/// (B, N, d), 1 for (B, d).
inline std::int64_t positions(torch::IntArrayRef sizes) {
  if (sizes.size() == 3) return sizes[1];
  std::int64_t product = 1;
  for (std::size_t i = 2; i < sizes.size(); ++i) product *= sizes[i];
  return product;
}

}  // namespace detail

/// The local loss whose gradient in f is the credit itself: descent moves f along -a.
///
///     (1/B) sum_b <f_b, a_b>
///
/// - Shapes: f is the block's output; a has its shape or broadcasts to it.
/// - The sum runs over all features and positions; with `mean_over_positions` it is divided by the number of positions
///   (H*W, D*H*W or N). It is for hidden states (B, N, d), not (B, C, T).
struct InnerProduct {
  bool mean_over_positions = false;

  torch::Tensor operator()(const torch::Tensor& f, const torch::Tensor& a) const {
    return (f * a).sum() / divisor(f.sizes());
  }

  /// d/df of the loss, in the shape of f.
  torch::Tensor output_gradient(const torch::Tensor& f, const torch::Tensor& a) const {
    return (a / divisor(f.sizes())).expand_as(f);
  }

  /// The k for which output_gradient() is k a for every f of these sizes; credit kept as factors is then not multiplied
  /// out.
  std::optional<double> multiple_of_credit(torch::IntArrayRef sizes) const { return 1 / divisor(sizes); }
  /// Deprecated: f is used for its sizes alone.
  std::optional<double> multiple_of_credit(const torch::Tensor& f) const { return multiple_of_credit(f.sizes()); }

  /// The embed's local loss: the inner product with the same reduction.
  InnerProduct embed_loss() const { return *this; }

 private:
  double divisor(torch::IntArrayRef sizes) const {
    return static_cast<double>(sizes[0] * (mean_over_positions ? detail::positions(sizes) : 1));
  }
};

}  // namespace creditlib
