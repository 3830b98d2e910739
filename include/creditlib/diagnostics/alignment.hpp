// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/diagnostics/cosine.hpp>
#include <creditlib/error.hpp>
#include <creditlib/statistics/measured.hpp>
#include <vector>

namespace creditlib::diagnostics {

/// Gamma: the cosine of credit a and gradient g per sample, averaged over the batch.
///
///     Gamma = mean_b <a_b, g_b> / (|a_b| |g_b|)
///
/// - a has the shape of g, (B, ...), or broadcasts to it.
/// - Each side is divided by its own norm in float64, without an epsilon, so that Gamma is exact at |g| ~ 1e-10 too.
/// - A sample with a norm that is 0 or not finite has no cosine and is left out; if all are, there is no value.
/// - Waits for the device.
/// - Throws Error if the shapes do not fit.
inline Measured alignment(const torch::Tensor& a, const torch::Tensor& g) {
  if (!a.defined() || !g.defined()) return {.reason = "there is no credit or no gradient here"};
  return detail::translated([&]() -> Measured {
    const auto cosines = sample_cosines(a, g);
    const auto defined = cosines.masked_select(cosines.isfinite());
    if (defined.numel() == 0) return {.reason = "the credit or the gradient of every sample is 0 or not finite"};
    return {.value = defined.mean().item<double>()};
  });
}

/// alignment() of each credit with the gradient in the same place. Throws Error unless both lists have the same length.
inline std::vector<Measured> alignment(const std::vector<torch::Tensor>& credits,
                                       const std::vector<torch::Tensor>& gradients) {
  if (credits.size() != gradients.size()) {
    detail::fail("alignment: ", credits.size(), " credits and ", gradients.size(),
                 " gradients, expected one for each hidden state.");
  }
  std::vector<Measured> aligned;
  for (std::size_t l = 0; l < credits.size(); ++l) aligned.push_back(alignment(credits[l], gradients[l]));
  return aligned;
}

}  // namespace creditlib::diagnostics
