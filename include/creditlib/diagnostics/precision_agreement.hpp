// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/diagnostics/cosine.hpp>
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/scope/in_float64.hpp>
#include <creditlib/scope/untouched.hpp>
#include <vector>

namespace creditlib::diagnostics {

/// How well gradients in the model's own dtype agree with float64 gradients, at one hidden state.
struct PrecisionAgreement {
  Measured cosine = {};  ///< mean over the samples with a gradient in both dtypes
  Measured lost = {};    ///< the share of the samples with a float64 gradient whose own gradient is 0 or not finite
};

/// The cosine of dloss_i/dh_l in the model's dtype with dloss_i/dh_l in float64, for l = 0..L: whether the reference
/// that rules are compared with is more than rounding.
///
/// - In the model's present mode; nothing is changed (see InFloat64).
/// - Cost: a forward and a backward pass in each dtype.
template <BlockModel Model, class Objective = CrossEntropy>
std::vector<PrecisionAgreement> precision_agreement(Model& model, const torch::Tensor& x, const torch::Tensor& y,
                                                    const Objective& objective = {}) {
  const scope::Untouched both_draw_the_same(*model, x.device());
  const auto own = true_gradients(model, x, y, objective);
  const auto exact = [&] {
    const InFloat64 network(*model);
    return true_gradients(model, in_precision(x, Precision::Float64), in_precision(y, Precision::Float64), objective);
  }();
  return detail::translated([&] {
    const torch::NoGradGuard no_grad;
    std::vector<PrecisionAgreement> agreements;
    for (std::size_t l = 0; l < own.size(); ++l) {
      auto& here = agreements.emplace_back();
      if (own[l].scalar_type() == torch::kFloat64) {
        here.cosine.reason = here.lost.reason = "the model is in float64 itself";
        continue;
      }
      const auto expected = unit_rows(exact[l]), found = unit_rows(own[l]);
      const auto there = expected.isfinite().all(1);
      const auto cosines = (found * expected).sum(1).masked_select(there);
      if (cosines.numel() == 0) {
        here.cosine.reason = here.lost.reason = "the float64 gradient of every sample is 0 or not finite";
        continue;
      }
      const auto kept = cosines.masked_select(cosines.isfinite());
      here.lost.value = 1 - static_cast<double>(kept.numel()) / static_cast<double>(cosines.numel());
      if (kept.numel() == 0) {
        here.cosine.reason = "the gradient of every sample is 0 or not finite";
      } else {
        here.cosine.value = kept.mean().template item<double>();
      }
    }
    return agreements;
  });
}

}  // namespace creditlib::diagnostics
