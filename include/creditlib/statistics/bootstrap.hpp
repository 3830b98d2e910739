// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/detail/expect.hpp>
#include <creditlib/error.hpp>
#include <creditlib/statistics/estimate.hpp>
#include <creditlib/statistics/seeded.hpp>
#include <cstdint>
#include <optional>
#include <vector>

namespace creditlib::statistics {

/// Options of bootstrap confidence intervals.
struct Bootstrap {
  std::int64_t resamples = 2000;
  double level = 0.95;
  std::uint64_t seed = 0;

  /// Throws Error for an invalid value.
  void check() const {
    detail::expect::at_least("Bootstrap", "resamples", resamples, 1);
    detail::expect::between_0_and_1("Bootstrap", "level", level);
  }
};

/// The percentile interval of a statistic of n samples, by resampling with replacement.
///
/// `statistic` maps how often each resample contains each sample, (R, n) float64 on the CPU, to R values. Values that
/// are not finite are left out; there is no interval if more than half of them are, or if n is below 2. For n below
/// about 10 percentile intervals are too narrow: use student_mean() there.
///
/// - Cost: R n, computed in pieces of a million numbers.
/// - Throws Error for invalid options.
/// - Source: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979).
template <class Statistic>
std::optional<Interval> bootstrap_interval(std::int64_t n, const Bootstrap& options, const Statistic& statistic) {
  options.check();
  if (n < 2) return std::nullopt;
  return detail::translated([&]() -> std::optional<Interval> {
    const torch::NoGradGuard no_grad;
    const auto generator = seeded(options.seed);
    const std::int64_t rows = std::max<std::int64_t>(1, 1'000'000 / n);
    std::vector<torch::Tensor> parts;
    for (std::int64_t done = 0; done < options.resamples; done += rows) {
      const std::int64_t now = std::min(rows, options.resamples - done);
      const auto drawn = at::randint(n, {now, n}, generator, torch::TensorOptions(torch::kInt64));
      const auto counts =
          torch::zeros({now, n}, torch::kFloat64).scatter_add_(1, drawn, torch::ones({now, n}, torch::kFloat64));
      parts.push_back(statistic(counts));
    }
    const auto values = at::cat(parts);
    const auto finite = std::get<0>(values.masked_select(values.isfinite()).sort());
    if (2 * finite.numel() < options.resamples) return std::nullopt;
    const double* const sorted = finite.template data_ptr<double>();
    const auto quantile = [&](double p) {
      const double at = p * static_cast<double>(finite.numel() - 1);
      const auto below = static_cast<std::int64_t>(at);
      const auto above = std::min(below + 1, finite.numel() - 1);
      return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
    };
    return Interval{quantile((1 - options.level) / 2), quantile((1 + options.level) / 2)};
  });
}

/// The mean of `values`, (n), with its bootstrap interval. Throws Error for invalid options.
inline Estimate bootstrap_mean(const torch::Tensor& values, const Bootstrap& options = {}) {
  const auto sample = values.detach().to(torch::kCPU, torch::kFloat64).flatten();
  const std::int64_t n = sample.numel();
  if (n == 0) return {.reason = "there is nothing to average"};
  const double mean = sample.mean().item<double>();
  return {.value = mean, .interval = bootstrap_interval(n, options, [&](const torch::Tensor& counts) {
                           return counts.mv(sample) / static_cast<double>(n);
                         })};
}

/// The ratio of the means of two paired samples, (n) each, with its bootstrap interval, which keeps the pairs together.
/// The denominator's mean must not be 0. Throws Error unless both have the same number of values.
inline Estimate bootstrap_ratio(const torch::Tensor& numerator, const torch::Tensor& denominator,
                                const Bootstrap& options = {}) {
  const auto above = numerator.detach().to(torch::kCPU, torch::kFloat64).flatten();
  const auto below = denominator.detach().to(torch::kCPU, torch::kFloat64).flatten();
  if (above.numel() != below.numel()) {
    detail::fail("bootstrap_ratio: ", above.numel(), " and ", below.numel(), " values, expected pairs.");
  }
  if (above.numel() == 0) return {.reason = "there is nothing to average"};
  const double ratio = above.mean().item<double>() / below.mean().item<double>();
  return {.value = ratio, .interval = bootstrap_interval(above.numel(), options, [&](const torch::Tensor& counts) {
                            return counts.mv(above) / counts.mv(below);
                          })};
}

}  // namespace creditlib::statistics

namespace creditlib::diagnostics {
using statistics::Bootstrap;
using statistics::bootstrap_interval;
using statistics::bootstrap_mean;
using statistics::bootstrap_ratio;
}  // namespace creditlib::diagnostics
