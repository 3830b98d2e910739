#pragma once

#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/statistics/measured.hpp>
#include <creditlib/error.hpp>
#include <vector>

namespace creditlib::diagnostics {

/// Gamma: the cosine of credit a and gradient g for each sample, flattened, averaged over the batch.
///
///     Gamma = mean_b <a_b, g_b> / (|a_b| |g_b|)
///
/// a has the shape of g, (B, ...), or one that broadcasts to it. Each side is divided by its own norm in float64, with
/// no epsilon, so that it is exact at |g| ~ 1e-10 too. A sample with a norm that is 0 or not finite has no cosine and
/// is left out; where all are, there is no value. Waits for the device. Throws Error where shapes do not fit. Source:
/// the reference scripts' Gamma, whose cosine has an epsilon.
inline Measured alignment(const torch::Tensor& a, const torch::Tensor& g) {
  if (!a.defined() || !g.defined()) return {.reason = "there is no credit or no gradient here"};
  return detail::translated([&]() -> Measured {
    const torch::NoGradGuard no_grad;
    const auto rows = [&](const torch::Tensor& t) {
      const auto flat = t.expand_as(g).flatten(1).to(torch::kFloat64);
      // The largest element first, so that no square overflows or vanishes.
      const auto largest = flat.abs().amax(1, /*keepdim=*/true);
      const auto scaled = flat / largest;
      return scaled / scaled.norm(2, 1, /*keepdim=*/true);
    };
    const auto cosine = (rows(a) * rows(g)).sum(1);
    const auto defined = cosine.masked_select(cosine.isfinite());
    if (defined.numel() == 0) return {.reason = "the credit or the gradient of every sample is 0 or not finite"};
    return {.value = defined.mean().item<double>()};
  });
}

/// alignment() of each credit with the gradient in the same place. Throws Error unless there are as many of both.
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
