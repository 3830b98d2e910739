// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <creditlib/detail/expect.hpp>
#include <creditlib/statistics/estimate.hpp>
#include <creditlib/statistics/mean_and_variance.hpp>
#include <cstdint>
#include <numbers>
#include <optional>
#include <vector>

namespace creditlib::statistics {

/// The quantile z with P(Z < z) = p of the standard normal distribution. Throws Error unless p is in (0, 1).
inline double normal_quantile(double p) {
  detail::expect::between_0_and_1("normal_quantile", "p", p);
  double low = -40, high = 40;
  for (int i = 0; i < 200 && low < high; ++i) {
    const double middle = (low + high) / 2;
    (std::erfc(-middle / std::numbers::sqrt2) / 2 < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

/// The t with P(|T| < t) = level, for Student's distribution with `freedom` degrees of freedom.
///
/// With t = sqrt(freedom) tan(theta) the density is proportional to cos(theta)^(freedom - 1), which is integrated by
/// Simpson's rule. Throws Error unless level is in (0, 1) and freedom is at least 1.
inline double student_quantile(double level, std::int64_t freedom) {
  detail::expect::between_0_and_1("student_quantile", "level", level);
  detail::expect::at_least("student_quantile", "freedom", freedom, 1);
  if (freedom > 10'000) return normal_quantile((1 + level) / 2);
  const auto mass = [&](double theta) {
    constexpr int intervals = 2000;
    const auto density = [&](int i) {
      return std::pow(std::cos(theta * i / intervals), static_cast<double>(freedom - 1));
    };
    double sum = density(0) + density(intervals);
    for (int i = 1; i < intervals; ++i) sum += (i % 2 ? 4 : 2) * density(i);
    return sum * theta / (3 * intervals);
  };
  const double whole = mass(std::numbers::pi / 2);
  double low = 0, high = std::numbers::pi / 2;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (mass(middle) < level * whole ? low : high) = middle;
  }
  return std::sqrt(static_cast<double>(freedom)) * std::tan((low + high) / 2);
}

/// The mean of a few values with Student's interval, mean +- t s / sqrt(n); no interval for a single value. Meant for
/// accuracies over seeds, of which there are a few rather than dozens.
///
/// - Throws Error unless level is in (0, 1).
/// - Source: Student, "The probable error of a mean", Biometrika 6 (1908).
inline Estimate student_mean(const std::vector<double>& values, double level = 0.95) {
  if (values.empty()) return {.reason = "there is nothing to average"};
  const auto [mean, variance] = mean_and_variance(values);
  if (!std::isfinite(mean)) return {.reason = "a value is not finite"};
  if (!variance) return {.value = mean};
  const double half = student_quantile(level, static_cast<std::int64_t>(values.size()) - 1) *
                      std::sqrt(*variance / static_cast<double>(values.size()));
  return {.value = mean, .interval = Interval{mean - half, mean + half}};
}

/// Fisher's interval of a correlation r over n independent pairs: tanh(atanh(r) +- z / sqrt(n - 3)); none if n is below
/// 4 or |r| = 1.
///
/// - Throws Error unless level is in (0, 1).
/// - Source: Fisher, "On the 'probable error' of a coefficient of correlation", Metron 1 (1921).
inline std::optional<Interval> fisher_interval(double r, std::int64_t n, double level = 0.95) {
  if (n < 4 || !(std::abs(r) < 1)) return std::nullopt;
  const double half = normal_quantile((1 + level) / 2) / std::sqrt(static_cast<double>(n - 3));
  return Interval{std::tanh(std::atanh(r) - half), std::tanh(std::atanh(r) + half)};
}

}  // namespace creditlib::statistics

namespace creditlib::diagnostics {
using statistics::fisher_interval;
using statistics::normal_quantile;
using statistics::student_mean;
using statistics::student_quantile;
}  // namespace creditlib::diagnostics
