#pragma once

#include <torch/types.h>

#include <cmath>
#include <creditlib/detail/describe.hpp>
#include <creditlib/statistics/measured.hpp>
#include <creditlib/error.hpp>
#include <limits>
#include <vector>

namespace creditlib::diagnostics {

/// Each sample of t, (B, ...), as a row of unit length, (B, size of a sample), float64. A row whose norm is 0 or not
/// finite is NaN.
inline torch::Tensor unit_rows(const torch::Tensor& t) {
  const auto flat = t.detach().flatten(1).to(torch::kFloat64);
  // The largest element first, so that no square overflows or vanishes.
  const auto scaled = flat / flat.abs().amax(1, /*keepdim=*/true);
  return scaled / scaled.norm(2, 1, /*keepdim=*/true);
}

/// The cosine of credit a, which broadcasts to g, with g for each sample, (B) float64: what alignment() averages. NaN
/// for a sample whose credit or gradient is 0 or not finite. Throws Error where shapes do not fit.
inline torch::Tensor sample_cosines(const torch::Tensor& a, const torch::Tensor& g) {
  return detail::translated([&] {
    const torch::NoGradGuard no_grad;
    return (unit_rows(a.expand_as(g)) * unit_rows(g)).sum(1);
  });
}

/// The cosine of two tensors of as many numbers, each as one vector, in float64, divided by its own norm without an
/// epsilon. Waits for the device. Throws Error where the numbers are not as many.
inline Measured cosine(const torch::Tensor& a, const torch::Tensor& b) {
  if (!a.defined() || !b.defined()) return {.reason = "there is no tensor here"};
  if (a.numel() != b.numel()) {
    detail::fail("cosine: ", detail::shape_text(a.sizes()), " and ",
                            detail::shape_text(b.sizes()), ", expected as many numbers in both.");
  }
  if (a.numel() == 0) return {.reason = "there are no numbers here"};
  const double value = sample_cosines(a.reshape({1, -1}), b.reshape({1, -1})).item<double>();
  if (!std::isfinite(value)) return {.reason = "one of the two is 0 or not finite"};
  return {.value = value};
}

/// Statistics of a list of vectors, added one at a time and not kept: their mean pairwise cosine and their variance, in
/// float64.
class VectorSpread {
 public:
  /// A tensor of any shape, as one vector. Waits for the device. Throws Error where it has another number of elements
  /// than those before.
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
    return finite(difference < 0 ? 0 : difference);  // of equal vectors rounding may leave less than 0
  }

  /// The unbiased variance (1/(n-1)), summed over elements, divided by the mean squared norm: the share of an update's
  /// square that is particular to its batch. About 1 where the vectors have nothing in common, 0 where they are equal.
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

/// The mean of the cosines of all pairs among the vectors. Throws Error where their numbers of elements differ.
inline Measured mean_pairwise_cosine(const std::vector<torch::Tensor>& vectors) {
  VectorSpread spread;
  for (const auto& vector : vectors) spread.add(vector);
  return spread.mean_pairwise_cosine();
}

}  // namespace creditlib::diagnostics
