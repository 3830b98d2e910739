// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <creditlib/diagnostics/cosine.hpp>
#include <creditlib/diagnostics/parameter_gradients.hpp>
#include <creditlib/diagnostics/trial_step.hpp>
#include <creditlib/error.hpp>
#include <vector>

namespace creditlib::diagnostics {

/// A norm-matched back-propagation step: the direction of back-propagation with the length of a rule's credit.
///
///     g_b |a_b| / |g_b|
///
/// for each sample of credit a and gradient g, (B, ...); a may broadcast to g. The rule and this step differ by
/// direction alone. The result has g's shape and dtype; it is 0 for a sample whose gradient is 0 or not finite, or
/// whose credit is 0. Throws Error if the shapes do not fit.
inline torch::Tensor norm_matched(const torch::Tensor& a, const torch::Tensor& g) {
  return detail::translated([&] {
    const torch::NoGradGuard no_grad;
    const auto lengths = a.expand_as(g).flatten(1).to(torch::kFloat64).norm(2, 1, /*keepdim=*/true);
    const auto matched = (unit_rows(g) * lengths).view(g.sizes());
    return matched.nan_to_num(0).to(g.scalar_type());
  });
}

/// Which gradients are scaled together: each part's (embed, each block, readout), or all.
enum class Matching { EachPart, Whole };

/// Back-propagation's parameter gradients, in the order of distinct_parameters(*model), scaled to the norms of a rule's gradients part
/// by part, so that the two updates differ by direction alone in every part.
///
/// - Undefined if the rule's gradient is (a frozen parameter). A part with a back-propagated gradient of 0 stays 0.
/// - Throws Error unless both lists have one gradient per parameter.
template <BlockModel Model>
std::vector<torch::Tensor> norm_matched(Model& model, const std::vector<torch::Tensor>& rule,
                                        std::vector<torch::Tensor> backprop, Matching matching = Matching::EachPart) {
  return detail::translated([&] {
    const torch::NoGradGuard no_grad;
    const auto parts = parameter_positions(model);
    check_gradient_count("norm_matched", parts, rule);
    check_gradient_count("norm_matched", parts, backprop);
    for (std::size_t i = 0; i < rule.size(); ++i) {
      if (!rule[i].defined()) backprop[i].reset();
    }
    const auto match = [&](const std::vector<std::size_t>& positions) {
      const double rule_norm = gradient_norm(rule, positions), norm = gradient_norm(backprop, positions);
      if (norm == 0) return;
      for (const auto i : positions) {
        if (backprop[i].defined()) backprop[i] = backprop[i] * (rule_norm / norm);
      }
    };
    if (matching == Matching::Whole) {
      match(parts.all());
    } else {
      match(parts.embed);
      for (const auto& block : parts.blocks) match(block);
      match(parts.readout);
    }
    return backprop;
  });
}

/// The effect of one step of a rule, and of the norm-matched step of back-propagation, on the loss.
struct NormMatchedStep {
  Measured rule = {};      ///< change of the mean loss by p - eta u
  Measured backprop = {};  ///< change by the norm-matched back-propagation step
  /// rule / backprop: 1 for back-propagation itself; undefined if back-propagation's step does not lower the loss.
  Measured ratio = {};
};

/// Compares a plain gradient step p - eta u of a rule with the norm-matched step of back-propagation on the same batch,
/// by the change of the mean loss of (measured_x, measured_y), which may be the same batch or another.
///
/// - `update` holds u, the rule's parameter gradients on the batch (x, y), in the order of a trainer's
///   gradients(x, y).
/// - The parameters are restored to the bit; nothing is changed. In the model's present mode; waits for the device.
/// - Throws Error unless `update` has one gradient per parameter.
template <BlockModel Model, class Objective = CrossEntropy>
NormMatchedStep norm_matched_step(Model& model, const std::vector<torch::Tensor>& update, const torch::Tensor& x,
                                  const torch::Tensor& y, const torch::Tensor& measured_x,
                                  const torch::Tensor& measured_y, double eta, Matching matching = Matching::EachPart,
                                  const Objective& objective = {}) {
  const scope::Untouched all_draw_the_same(*model, x.device());
  const auto matched = norm_matched(model, update, parameter_gradients(model, x, y, objective), matching);
  const double before = mean_loss(model, measured_x, measured_y, objective);
  const auto change = [&](const std::vector<torch::Tensor>& gradients) {
    TrialStep trial(*model);
    trial.step(gradients, eta);
    return mean_loss(model, measured_x, measured_y, objective) - before;
  };
  const double of_rule = change(update), of_backprop = change(matched);
  const auto finite = [](double value) -> Measured {
    if (!std::isfinite(value)) return {.reason = "the loss is not finite"};
    return {.value = value};
  };
  NormMatchedStep step{.rule = finite(of_rule), .backprop = finite(of_backprop)};
  if (!step.rule.value || !step.backprop.value) {
    step.ratio.reason = "the loss is not finite";
  } else if (of_backprop >= 0) {
    step.ratio.reason = "back-propagation's own step does not lower the loss";
  } else {
    step.ratio.value = of_rule / of_backprop;
  }
  return step;
}

}  // namespace creditlib::diagnostics
