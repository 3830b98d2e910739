// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "test.hpp"

namespace creditlib::test {

/// The largest distance of a derivative in each element of f, given and by central differences.
template <class Function>
double from_central_differences(const Function& function, const torch::Tensor& f, const torch::Tensor& derivative) {
  double most = 0;
  auto flat = f.clone();
  const auto elements = flat.view({-1});
  const auto given = derivative.contiguous().view({-1});
  constexpr double step = 1e-5;
  for (std::int64_t i = 0; i < elements.numel(); ++i) {
    const double value = elements[i].template item<double>();
    elements[i] = value + step;
    const double above = function(flat).template item<double>();
    elements[i] = value - step;
    const double below = function(flat).template item<double>();
    elements[i] = value;
    most = std::max(most, std::abs((above - below) / (2 * step) - given[i].template item<double>()));
  }
  return most;
}

}  // namespace creditlib::test
