#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>

namespace creditlib {

namespace detail {

/// How many positions a hidden state (B, C, H, W) or (B, N, d) has; 1 for (B, d).
inline std::int64_t positions(const torch::Tensor& f) {
  if (f.dim() == 4) return f.size(2) * f.size(3);
  return f.dim() == 3 ? f.size(1) : 1;
}

}  // namespace detail

/// The local loss whose gradient in f is the credit itself: descent moves f along -a.
///
///     (1/B) sum_b <f_b, a_b>
///
/// f has the shape of the block's output, a the same or one that broadcasts to it. The sum runs over all features and
/// positions; with `mean_over_positions` it is divided by the number of positions (H*W or N), as the scripts do for
/// convolutions. Source: train_methods.
struct InnerProduct {
  bool mean_over_positions = false;

  torch::Tensor operator()(const torch::Tensor& f, const torch::Tensor& a) const { return (f * a).sum() / divisor(f); }

  /// d/df of the above, shape of f.
  torch::Tensor output_gradient(const torch::Tensor& f, const torch::Tensor& a) const {
    return (a / divisor(f)).expand_as(f);
  }

  /// The number k for which that is k a, whatever f: credit that is kept as factors then need not be multiplied out.
  std::optional<double> multiple_of_credit(const torch::Tensor& f) const { return 1 / divisor(f); }

  /// The embed's local loss: the inner product with the same reduction.
  InnerProduct embed_loss() const { return *this; }

 private:
  double divisor(const torch::Tensor& f) const {
    return static_cast<double>(f.size(0) * (mean_over_positions ? detail::positions(f) : 1));
  }
};

}  // namespace creditlib
