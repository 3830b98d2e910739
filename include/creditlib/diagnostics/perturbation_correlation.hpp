// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <creditlib/detail/expect.hpp>
#include <creditlib/diagnostics/loss_from.hpp>
#include <creditlib/scope/in_float64.hpp>
#include <creditlib/statistics/bootstrap.hpp>
#include <creditlib/statistics/confidence.hpp>
#include <creditlib/statistics/seeded.hpp>
#include <cstdint>
#include <vector>

namespace creditlib::diagnostics {

/// How the loss change along a direction is measured: as a central or as a forward difference.
enum class Difference { Central, Forward };

/// How the interval of a correlation is made: by resampling the samples of the batch (Bootstrap), or by Fisher's
/// formula for M B independent pairs, which the M directions of one sample are not.
enum class CorrelationInterval { Bootstrap, Fisher };

struct PerturbationOptions {
  std::int64_t directions = 16;  ///< M, per sample
  double epsilon = 1e-3;         ///< the step's length
  bool relative = false;         ///< scales epsilon by the sample's |h_l|
  Difference difference = Difference::Central;
  Precision precision = Precision::Float64;
  std::uint64_t seed = 0;  ///< of the directions; a hidden state's do not depend on which others are measured
  CorrelationInterval interval = CorrelationInterval::Bootstrap;
  Bootstrap bootstrap = {};

  /// Forward differences with a step of 1e-3 whatever |h_l| is, in the model's own dtype.
  static PerturbationOptions one_sided(std::uint64_t seed = 0) {
    return {.difference = Difference::Forward, .precision = Precision::Model, .seed = seed};
  }
  static PerturbationOptions script(std::uint64_t seed = 0) { return one_sided(seed); }  // deprecated name

  /// Throws Error for an invalid value.
  void check() const {
    detail::expect::at_least("PerturbationOptions", "directions", directions, 1);
    detail::expect::positive("PerturbationOptions", "epsilon", epsilon);
    bootstrap.check();
  }
};

struct PerturbationCorrelation {
  Estimate rho = {};
  /// The share of the pairs whose loss changed at all; far below 1 if the step is below the resolution of the dtype.
  Measured changed = {};
  std::int64_t pairs = 0;  ///< M times the number of samples with finite pairs
};

/// The pairs that are correlated, (B, M) float64 each: <a_l, v>, and the loss change per unit of length along v.
struct PerturbationPairs {
  torch::Tensor projected, change;
};

/// The pairs of hidden state l at h, (B, ...), in the present dtype of the network behind `loss_from`, for credit a,
/// which broadcasts to h. Throws Error if the shapes do not fit.
template <class Model, class Objective>
PerturbationPairs perturbation_pairs(const LossFrom<Model, Objective>& loss_from, std::int64_t l,
                                     const torch::Tensor& h, const torch::Tensor& a,
                                     const PerturbationOptions& options) {
  options.check();
  return detail::translated([&]() -> PerturbationPairs {
    const torch::NoGradGuard no_grad;
    const auto credit = a.expand_as(h).flatten(1).to(torch::kFloat64);
    auto step = torch::full({h.size(0)}, options.epsilon, h.options());
    if (options.relative) step = step * h.flatten(1).norm(2, 1);
    std::vector<std::int64_t> per_sample(static_cast<std::size_t>(h.dim()), 1);
    per_sample[0] = h.size(0);
    const auto length = step.view(per_sample);
    const auto losses = [&](const torch::Tensor& at) { return loss_from(l, at).to(torch::kFloat64); };
    const bool central = options.difference == Difference::Central;
    const auto before = central ? torch::Tensor() : losses(h);
    const auto generator = seeded(options.seed, static_cast<std::uint64_t>(l));
    std::vector<torch::Tensor> projected, change;
    for (std::int64_t m = 0; m < options.directions; ++m) {
      const auto v = unit_directions(h, generator);
      const auto difference =
          central ? (losses(h + length * v) - losses(h - length * v)) / 2 : losses(h + length * v) - before;
      projected.push_back((credit * v.flatten(1).to(torch::kFloat64)).sum(1));
      change.push_back(difference / step.to(torch::kFloat64));
    }
    return {at::stack(projected, 1), at::stack(change, 1)};
  });
}

/// Pearson's correlation of the pairs, pooled over samples and directions. A sample with a pair that is not finite is
/// left out; if one side is constant, the correlation is undefined. Waits for the device.
inline PerturbationCorrelation pooled_correlation(const PerturbationPairs& pairs,
                                                  const PerturbationOptions& options = {}) {
  return detail::translated([&]() -> PerturbationCorrelation {
    const torch::NoGradGuard no_grad;
    const auto finite = (pairs.projected.isfinite() & pairs.change.isfinite()).all(1);
    const auto rows = [&](const torch::Tensor& t) { return t.index({finite}).cpu(); };
    auto x = rows(pairs.projected), y = rows(pairs.change);
    const std::int64_t n = x.size(0), count = x.numel();
    if (count == 0) return {.rho = {.reason = "no sample has finite credit and loss changes"}};
    PerturbationCorrelation found{.changed = {.value = y.ne(0).to(torch::kFloat64).mean().item<double>()},
                                  .pairs = count};
    const auto constant = [](const torch::Tensor& t) { return t.eq(t.view(-1)[0]).all().item<bool>(); };
    if (constant(x)) {
      found.rho.reason = "the credit along every direction is the same";
      return found;
    }
    if (constant(y)) {
      found.rho.reason = "the loss change along every direction is the same";
      return found;
    }
    // Mean and scale do not matter. Without them, no sum of squares cancels, overflows or underflows.
    const auto centered = [](torch::Tensor t) {
      t = t / t.abs().max();
      t = t - t.mean();
      return t / t.abs().max();
    };
    x = centered(x);
    y = centered(y);
    const auto sums = at::stack({x.sum(1), y.sum(1), x.square().sum(1), y.square().sum(1), (x * y).sum(1)}, 1);
    const auto directions = static_cast<double>(x.size(1));
    // The correlation, (R), with each sample counted as often as `counts`, (R, n), says.
    const auto correlation = [&](const torch::Tensor& counts) {
      const auto sum = counts.mm(sums);
      const auto total = counts.sum(1) * directions;
      const auto at = [&](std::int64_t i) { return sum.select(1, i); };
      const auto covariance = at(4) - at(0) * at(1) / total;
      const auto of_x = at(2) - at(0).square() / total, of_y = at(3) - at(1).square() / total;
      return (covariance / (of_x.sqrt() * of_y.sqrt())).clamp(-1, 1);
    };
    const double rho = correlation(torch::ones({1, n}, torch::kFloat64)).template item<double>();
    if (!std::isfinite(rho)) {
      found.rho.reason = "the credit or the loss change is constant to rounding";
      return found;
    }
    found.rho.value = rho;
    found.rho.interval = options.interval == CorrelationInterval::Fisher
                             ? fisher_interval(rho, count, options.bootstrap.level)
                             : bootstrap_interval(n, options.bootstrap, correlation);
    return found;
  });
}

/// rho: the correlation of the loss change that credit predicts with the actual one, for each hidden state.
///
///     rho_l = Pearson over m, b of  <a_l, v>  and  (loss(h_l + eps v) - loss(h_l - eps v)) / (2 eps),  |v_mb| = 1
///
/// - v are M random unit directions per sample, over all elements of h_l.
/// - As a pooled correlation, rho is a cosine that weights samples by their norms, and it changes with the scale of
///   each sample's credit: pass raw credits (raw_credits()), not normalized ones. Its noise is about 1/sqrt(M B); the
///   interval shows it.
/// - `credits` are a_0..a_L as a trainer gives them for this batch, each in the shape of h_l or one that broadcasts to
///   it; rho is undefined if the credit is.
/// - By default the network runs in float64 from h_l on (h_l itself comes from the model's dtype) with central
///   differences, whose error is O(eps^2); see also PerturbationOptions::one_sided(). In the model's present mode;
///   nothing is changed (InFloat64 says how a float64 run treats the parameters).
/// - Cost: 2 M forward passes from l on for each l (M + 1 with Difference::Forward). Waits for the device.
/// - Throws Error if the shapes do not fit.
template <BlockModel Model, class Objective = CrossEntropy>
std::vector<PerturbationCorrelation> perturbation_correlation(Model& model, const torch::Tensor& x,
                                                              const torch::Tensor& y,
                                                              const std::vector<torch::Tensor>& credits,
                                                              const PerturbationOptions& options = {},
                                                              const Objective& objective = {}) {
  options.check();
  const LossFrom<Model, Objective> loss_from(model, x, y, objective);
  if (credits.size() != loss_from.hidden().size()) {
    detail::fail("perturbation_correlation: ", credits.size(), " credits, expected ", loss_from.hidden().size(),
                 ": one for each of h_0..h_L.");
  }
  std::vector<PerturbationCorrelation> correlations;
  const InFloat64 network(*model, options.precision);
  for (std::size_t l = 0; l < credits.size(); ++l) {
    if (!credits[l].defined()) {
      correlations.push_back(
          {.rho = {.reason = "there is no credit here"}, .changed = {.reason = "there is no credit here"}});
      continue;
    }
    const auto h = in_precision(loss_from.hidden()[l], options.precision);
    correlations.push_back(pooled_correlation(
        perturbation_pairs(loss_from, static_cast<std::int64_t>(l), h, credits[l], options), options));
  }
  return correlations;
}

}  // namespace creditlib::diagnostics
