// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/error.hpp>
#include <creditlib/statistics/measured.hpp>
#include <creditlib/statistics/seeded.hpp>
#include <cstdint>
#include <vector>

namespace creditlib::statistics {

/// The rank p-value of `own` among n fresh draws, itself counted: (1 + #{draws >= own}) / (1 + n).
inline double rank_p(double own, const std::vector<double>& draws) {
  const auto as_large = std::count_if(draws.begin(), draws.end(), [&](double draw) { return draw >= own; });
  return static_cast<double>(1 + as_large) / static_cast<double>(1 + draws.size());
}

/// The sign-flip permutation test for paired values, one pair per sample. p is the probability of a mean difference
/// first - second at least as large as the observed one if the members of each pair were exchangeable. One-sided: small
/// if `first` is larger.
///
/// - Pairs with a value that is not finite are left out; there is no p if none is left. The smallest p is 1 / (1 +
///   permutations).
/// - Throws Error unless both have the same shape.
/// - Source: Fisher, "The design of experiments" (1935).
inline Measured sign_flip_test(const torch::Tensor& first, const torch::Tensor& second, std::uint64_t seed,
                               std::int64_t permutations = 9999) {
  if (first.sizes() != second.sizes()) {
    detail::fail("sign_flip_test: ", first.sizes(), " and ", second.sizes(), " values, expected pairs.");
  }
  return detail::translated([&]() -> Measured {
    const torch::NoGradGuard no_grad;
    const auto all = (first.detach().to(torch::kFloat64) - second.detach().to(torch::kFloat64)).cpu().flatten();
    const auto difference = all.masked_select(all.isfinite());
    const std::int64_t n = difference.numel();
    if (n == 0) return {.reason = "no pair of values is finite"};
    const double found = difference.sum().item<double>();
    // Sums of the same numbers in another order may differ by rounding; they count as equal.
    const double slack = 1e-12 * difference.abs().sum().item<double>();
    const auto generator = seeded(seed);
    const std::int64_t rows = std::max<std::int64_t>(1, 1'000'000 / n);
    std::int64_t as_large = 1;
    for (std::int64_t done = 0; done < permutations; done += rows) {
      const auto sizes = {std::min(rows, permutations - done), n};
      const auto signs = at::randint(2, sizes, generator, torch::TensorOptions(torch::kFloat64)).mul_(2).sub_(1);
      as_large += signs.mv(difference).ge(found - slack).sum().item<std::int64_t>();
    }
    return {.value = static_cast<double>(as_large) / static_cast<double>(1 + permutations)};
  });
}

}  // namespace creditlib::statistics

namespace creditlib::diagnostics {
using statistics::rank_p;
using statistics::sign_flip_test;
}  // namespace creditlib::diagnostics
