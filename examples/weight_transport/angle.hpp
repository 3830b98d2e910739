// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cmath>
#include <creditlib/diagnostics/cosine.hpp>
#include <numbers>

namespace weight_transport {

/// The angle between two tensors with the same number of elements, each taken as one vector, in degrees, 0 to 180; none
/// if one of them is 0 or not finite.
///
///     2 atan2(|u - v|, |u + v|) for unit vectors u and v, which is exact for small angles too; the arc cosine is not
///
/// Throws Error if their numbers of elements differ.
inline creditlib::diagnostics::Measured angle(const torch::Tensor& a, const torch::Tensor& b) {
  const auto cosine = creditlib::diagnostics::cosine(a, b);
  if (!cosine.value) return cosine;
  const torch::NoGradGuard no_grad;
  const auto u = creditlib::diagnostics::unit_rows(a.reshape({1, -1}));
  const auto v = creditlib::diagnostics::unit_rows(b.reshape({1, -1}));
  const double half = std::atan2((u - v).norm().item<double>(), (u + v).norm().item<double>());
  return {.value = 2 * half * 180 / std::numbers::pi};
}

}  // namespace weight_transport
