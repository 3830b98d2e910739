// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <creditlib/detail/expect.hpp>
#include <creditlib/diagnostics/cosine.hpp>
#include <creditlib/diagnostics/loss_from.hpp>
#include <creditlib/scope/in_float64.hpp>
#include <creditlib/statistics/bootstrap.hpp>
#include <cstdint>
#include <vector>

namespace creditlib::diagnostics {

struct NudgingOptions {
  std::vector<double> etas = {0.01, 0.003};  ///< how far h_l moves
  bool relative = false;                     ///< scales eta by the sample's |h_l|
  Precision precision = Precision::Float64;
  Bootstrap bootstrap = {};

  /// Throws Error for an invalid value.
  void check() const {
    for (const double eta : etas) detail::expect::positive("NudgingOptions", "an eta", eta);
    bootstrap.check();
  }
};

/// The effect on the loss of moving one hidden state by eta.
struct Nudge {
  double eta = 0;
  Estimate change = {};    ///< along -a_l/|a_l|: negative if credit lowers the loss
  Estimate backprop = {};  ///< along -g_l/|g_l|: the norm-matched back-propagation step
  /// change / backprop, over the samples that have both; undefined if back-propagation does not lower the loss.
  Estimate ratio = {};
};

/// Nudging: the change of the loss when h_l moves against its credit, for each hidden state and each eta.
///
///     mean_b  loss(h_l - eta a_l/|a_l|) - loss(h_l)
///
/// - a_l/|a_l| is per sample, over all elements, so the scale of credit does not matter. The same change is measured
///   along the true gradient; the ratio of the two is 1 for exact credit and, unlike the change alone, comparable
///   between layers and networks.
/// - `credits` are a_0..a_L as a trainer gives them for this batch. A sample whose credit (gradient) is 0 or not finite
///   is left out. Intervals resample samples.
/// - By default the network runs in float64 from h_l on. In the model's present mode; nothing is changed (see
///   InFloat64).
/// - Cost: 2 (etas + 1) forward passes and one backward pass from l on, for each l. Waits for the device.
/// - Throws Error if the shapes do not fit.
template <BlockModel Model, class Objective = CrossEntropy>
std::vector<std::vector<Nudge>> nudging(Model& model, const torch::Tensor& x, const torch::Tensor& y,
                                        const std::vector<torch::Tensor>& credits, const NudgingOptions& options = {},
                                        const Objective& objective = {}) {
  options.check();
  const LossFrom<Model, Objective> loss_from(model, x, y, objective);
  if (credits.size() != loss_from.hidden().size()) {
    detail::fail("nudging: ", credits.size(), " credits, expected ", loss_from.hidden().size(),
                 ": one for each of h_0..h_L.");
  }
  const InFloat64 network(*model, options.precision);
  return detail::translated([&] {
    const torch::NoGradGuard no_grad;
    const auto mean = [&](const torch::Tensor& values, const char* none) {
      const auto finite = values.masked_select(values.isfinite());
      return finite.numel() == 0 ? Estimate{.reason = none} : bootstrap_mean(finite, options.bootstrap);
    };
    const auto ratio = [&](const torch::Tensor& of_credit, const torch::Tensor& of_backprop) -> Estimate {
      if (of_credit.numel() == 0) return {.reason = "no sample has both a credit and a gradient"};
      if (!(of_backprop.mean().item<double>() < 0)) {
        return {.reason = "back-propagation's own step does not lower the loss"};
      }
      return bootstrap_ratio(of_credit, of_backprop, options.bootstrap);
    };
    std::vector<std::vector<Nudge>> nudges;
    for (std::size_t l = 0; l < credits.size(); ++l) {
      const auto at = static_cast<std::int64_t>(l);
      if (!loss_from.hidden()[l].is_floating_point()) {
        const Estimate none{.reason = "the hidden state holds whole numbers, such as token ids, which cannot move"};
        auto& here = nudges.emplace_back();
        for (const double eta : options.etas) {
          here.push_back({.eta = eta, .change = none, .backprop = none, .ratio = none});
        }
        continue;
      }
      const auto h = in_precision(loss_from.hidden()[l], options.precision);
      const auto before = loss_from(at, h).to(torch::kFloat64);
      const auto lengths = options.relative ? h.flatten(1).to(torch::kFloat64).norm(2, 1, /*keepdim=*/true)
                                            : torch::ones({h.size(0), 1}, h.options().dtype(torch::kFloat64));
      // The loss changes along -direction, (B); NaN for a sample that has no direction.
      const auto changes = [&](const torch::Tensor& rows, double eta) {
        const auto step = (rows.nan_to_num(0) * lengths * eta).view(h.sizes()).to(h.scalar_type());
        const auto change = loss_from(at, h - step).to(torch::kFloat64) - before;
        return torch::where(rows.isfinite().all(1), change, NAN);
      };
      const auto gradient = unit_rows(loss_from.gradient(at, h));
      const auto credit = credits[l].defined() ? unit_rows(credits[l].expand_as(h)) : torch::Tensor();
      auto& here = nudges.emplace_back();
      for (const double eta : options.etas) {
        auto& nudge = here.emplace_back(Nudge{.eta = eta});
        const auto of_backprop = changes(gradient, eta);
        nudge.backprop = mean(of_backprop, "the gradient of every sample is 0 or not finite");
        if (!credit.defined()) {
          nudge.change.reason = nudge.ratio.reason = "there is no credit here";
          continue;
        }
        const auto of_credit = changes(credit, eta);
        nudge.change = mean(of_credit, "the credit of every sample is 0 or not finite");
        const auto both = of_credit.isfinite() & of_backprop.isfinite();
        nudge.ratio = ratio(of_credit.masked_select(both), of_backprop.masked_select(both));
      }
    }
    return nudges;
  });
}

}  // namespace creditlib::diagnostics
