// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/audit/check.hpp>
#include <creditlib/diagnostics/growth.hpp>
#include <creditlib/diagnostics/norms.hpp>
#include <creditlib/diagnostics/precision_agreement.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace creditlib {
namespace detail {

/// A reference that is not finite is invalid.
inline audit::Check invalid_where_missing(audit::Check check) {
  if (!check.value.value) check.fired = true;
  return check;
}

}  // namespace detail

namespace audit {

/// D2, reference validity: the median over samples of |dCE/dh_L| of the mean loss of a batch of 128; fires below 1e-7.
///
/// `gradient` is dloss_i/dh_L of each sample's own loss, (B, ...), from true_gradients(). It is divided by `batch`, not
/// by B, so that the figure does not depend on the number of samples measured. The check also fires, with the reason,
/// if a gradient is not finite.
inline Check reference_validity(const torch::Tensor& gradient, double threshold = 1e-7, std::int64_t batch = 128) {
  auto norm = diagnostics::median_norm(gradient);
  if (norm.value) *norm.value /= static_cast<double>(batch);
  return detail::invalid_where_missing(
      checked("D2", "median |dloss/dh_L| of the mean over " + std::to_string(batch), norm, threshold, Fires::Below));
}

/// D2 without the scale of h_L: the median over samples of |dloss_i/dh_L| |h_L|, the loss change for a step as long as
/// h_L itself; fires below 1e-4.
///
/// A LayerNorm before the logits makes the gradient, and with it reference_validity()'s figure, shrink as h_L grows,
/// although its direction is as good as before; this figure does not shrink. The threshold corresponds to that check's
/// threshold at init: 1e-7 times 128 times a norm of about 9.
///
/// - `hidden` and `gradient` are (B, ...), from hidden_states() and true_gradients().
/// - Also fires, with the reason, if a norm is not finite.
/// - Throws Error if the two differ in the number of samples.
inline Check reference_sensitivity(const torch::Tensor& hidden, const torch::Tensor& gradient,
                                   double threshold = 1e-4) {
  const auto product = detail::translated([&] {
    const torch::NoGradGuard no_grad;
    const auto norms = [](const torch::Tensor& t) {
      return t.detach().flatten(1).to(torch::kFloat64).norm(2, 1, /*keepdim=*/true);
    };
    return norms(hidden) * norms(gradient);
  });
  return detail::invalid_where_missing(checked("D2 without scale", "median |dloss_i/dh_L| |h_L|",
                                               diagnostics::median_norm(product), threshold, Fires::Below));
}

/// D2 by precision: the agreement of float32 with float64 gradients, at the hidden state where it is lowest; fires
/// below .99, and if more than `most_lost` of the samples have a gradient in float64 alone.
///
/// `agreements` come from precision_agreement(), one per hidden state; a model that is in float64 itself gives nothing
/// to measure.
inline Check reference_agreement(const std::vector<diagnostics::PrecisionAgreement>& agreements,
                                 double threshold = 0.99, double most_lost = 0.01) {
  std::vector<diagnostics::Measured> cosines;
  bool lost = false;
  for (const auto& agreement : agreements) {
    cosines.push_back(agreement.cosine);
    lost = lost || (agreement.lost.value && *agreement.lost.value > most_lost);
  }
  auto check = checked("D2 in float64", "least cosine of the gradient with the float64 one",
                       diagnostics::smallest(cosines), threshold, Fires::Below);
  if (lost) {
    check.fired = true;
    check.meaning += " (gradients of more than " + std::to_string(most_lost).substr(0, 5) + " of the samples are lost)";
  }
  return check;
}

}  // namespace audit
}  // namespace creditlib

namespace creditlib {
namespace protocol = audit;  // deprecated name
}
