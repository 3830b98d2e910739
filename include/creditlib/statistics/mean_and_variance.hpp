// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

namespace creditlib::statistics {

/// The mean of a sample and its unbiased variance (1/(n-1)).
struct MeanAndVariance {
  double mean = 0;
  std::optional<double> variance = std::nullopt;  ///< undefined for a single value
};

/// Of a sample of at least one value.
inline MeanAndVariance mean_and_variance(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  double mean = 0, squares = 0;
  for (const double value : values) mean += value / n;
  for (const double value : values) squares += (value - mean) * (value - mean);
  if (values.size() < 2) return {.mean = mean};
  return {.mean = mean, .variance = squares / (n - 1)};
}

}  // namespace creditlib::statistics
