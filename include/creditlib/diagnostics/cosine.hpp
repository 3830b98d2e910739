// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cmath>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/statistics/measured.hpp>
#include <limits>
#include <vector>

namespace creditlib::diagnostics {

/// Each sample of t, (B, ...), as a row of unit length, (B, size of a sample), float64; NaN if its norm is 0 or not
/// finite.
inline torch::Tensor unit_rows(const torch::Tensor& t) {
  const auto flat = t.detach().flatten(1).to(torch::kFloat64);
  // Scaled by the largest element first, so that no square overflows or underflows.
  const auto scaled = flat / flat.abs().amax(1, /*keepdim=*/true);
  return scaled / scaled.norm(2, 1, /*keepdim=*/true);
}

/// The cosine per sample, (B) float64, of credit a, which broadcasts to g, with g; alignment() averages it. NaN for a
/// sample whose credit or gradient is 0 or not finite. Throws Error if the shapes do not fit.
inline torch::Tensor sample_cosines(const torch::Tensor& a, const torch::Tensor& g) {
  return detail::translated([&] {
    const torch::NoGradGuard no_grad;
    return (unit_rows(a.expand_as(g)) * unit_rows(g)).sum(1);
  });
}

/// The cosine of two tensors with the same number of elements, each taken as one vector, in float64 and without an
/// epsilon. Waits for the device. Throws Error if their numbers of elements differ.
inline Measured cosine(const torch::Tensor& a, const torch::Tensor& b) {
  if (!a.defined() || !b.defined()) return {.reason = "there is no tensor here"};
  if (a.numel() != b.numel()) {
    detail::fail("cosine: ", detail::shape_text(a.sizes()), " and ", detail::shape_text(b.sizes()),
                 ", expected the same number of elements.");
  }
  if (a.numel() == 0) return {.reason = "there are no numbers here"};
  const double value = sample_cosines(a.reshape({1, -1}), b.reshape({1, -1})).item<double>();
  if (!std::isfinite(value)) return {.reason = "one of the two is 0 or not finite"};
  return {.value = value};
}

/// Running statistics of vectors, which are added one at a time and not kept: their mean pairwise cosine and their
/// variance, in float64.
class VectorSpread {
 public:
  /// Adds a tensor of any shape as one vector. Waits for the device. Throws Error if it has another number of elements
  /// than the vectors before.
  void add(const torch::Tensor& vector) {
    const torch::NoGradGuard no_grad;
    const auto row = vector.detach().reshape({1, -1}).to(torch::kFloat64);
    const auto unit = unit_rows(row);
    if (sum_.defined() && sum_.sizes() != row.sizes()) {
      detail::fail("VectorSpread: a vector of ", row.numel(), " numbers after one of ", sum_.numel(), ".");
    }
    all_directed_ = all_directed_ && unit.isfinite().all().item<bool>();
    sum_ = sum_.defined() ? sum_ + row : row;
    unit_sum_ = unit_sum_.defined() ? unit_sum_ + unit : unit;
    squares_ += row.square().sum().item<double>();
    ++count_;
  }

  std::int64_t count() const { return count_; }

  /// The mean of cos(u_i, u_j) over all pairs i < j.
  Measured mean_pairwise_cosine() const {
    if (count_ < 2) return {.reason = "a pair needs two vectors"};
    if (!all_directed_) return {.reason = "a vector is 0 or not finite"};
    const auto n = static_cast<double>(count_);
    return {.value = (unit_sum_.square().sum().item<double>() - n) / (n * (n - 1))};
  }

  /// mean_i ||u_i - mean u||^2, the biased variance (1/n), summed over elements.
  Measured variance() const {
    if (count_ < 1) return {.reason = "there are no vectors"};
    const auto n = static_cast<double>(count_);
    const double difference = squares_ / n - (sum_ / n).square().sum().item<double>();
    return finite(difference < 0 ? 0 : difference);  // for equal vectors, rounding may give less than 0
  }

  /// The unbiased variance (1/(n-1)), summed over elements and divided by the mean squared norm: the share of an
  /// update's squared norm that is particular to its batch. About 1 if the vectors have nothing in common, 0 if they
  /// are equal.
  Measured relative_variance() const {
    if (count_ < 2) return {.reason = "a variance needs two vectors"};
    const auto n = static_cast<double>(count_);
    const auto biased = variance();
    if (!biased.value) return biased;
    if (squares_ == 0) return {.reason = "every vector is 0"};
    return finite(*biased.value * n / (n - 1) / (squares_ / n));
  }

 private:
  static Measured finite(double value) {
    if (!std::isfinite(value)) return {.reason = "a vector is not finite"};
    return {.value = value};
  }

  torch::Tensor sum_, unit_sum_;
  double squares_ = 0;
  std::int64_t count_ = 0;
  bool all_directed_ = true;
};

/// The mean cosine over all pairs of vectors. Throws Error if their numbers of elements differ.
inline Measured mean_pairwise_cosine(const std::vector<torch::Tensor>& vectors) {
  VectorSpread spread;
  for (const auto& vector : vectors) spread.add(vector);
  return spread.mean_pairwise_cosine();
}

}  // namespace creditlib::diagnostics
