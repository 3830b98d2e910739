// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/error.hpp>
#include <creditlib/statistics/measured.hpp>
#include <vector>

namespace creditlib::diagnostics {

/// The median over samples of the Euclidean norm of each flattened sample of t, (B, ...), in float64; the lower of two
/// middle values, like torch.median. Waits for the device.
inline Measured median_norm(const torch::Tensor& t) {
  if (!t.defined()) return {.reason = "there is no tensor here"};
  if (!t.is_floating_point()) return {.reason = "the tensor holds whole numbers, such as token ids, not a vector"};
  return detail::translated([&]() -> Measured {
    const torch::NoGradGuard no_grad;
    const auto norms = t.flatten(1).to(torch::kFloat64).norm(2, 1);
    if (!norms.isfinite().all().item<bool>()) return {.reason = "the norm of a sample is not finite"};
    return {.value = norms.median().item<double>()};
  });
}

/// median_norm() of each tensor.
inline std::vector<Measured> median_norms(const std::vector<torch::Tensor>& tensors) {
  std::vector<Measured> norms;
  for (const auto& t : tensors) norms.push_back(median_norm(t));
  return norms;
}

}  // namespace creditlib::diagnostics
