// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <creditlib/detail/expect.hpp>
#include <creditlib/diagnostics/cosine.hpp>
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/statistics/bootstrap.hpp>
#include <creditlib/statistics/seeded.hpp>
#include <cstdint>
#include <vector>

namespace creditlib::diagnostics {

/// Errors e, (N, C), and the true gradients at h_0..h_L, (N, ...), of the same samples.
struct ErrorsAndGradients {
  torch::Tensor errors = {};
  std::vector<torch::Tensor> gradients = {};

  /// The rows selected by `index`.
  ErrorsAndGradients rows(const torch::Tensor& index) const {
    ErrorsAndGradients chosen{errors.index_select(0, index), {}};
    for (const auto& g : gradients) chosen.gradients.push_back(g.index_select(0, index));
    return chosen;
  }
};

/// The input of ridge_control(), from a list of batches {x, y}: dloss_i/dlogits and dloss_i/dh_l.
///
/// - In the model's present mode; nothing is changed.
/// - Cost: two forward passes and one backward pass per batch; all gradients are kept.
/// - Throws Error if there are no batches.
template <BlockModel Model, class Batch, class Objective = CrossEntropy>
ErrorsAndGradients errors_and_gradients(Model& model, const std::vector<Batch>& batches,
                                        const Objective& objective = {}) {
  return detail::translated([&] {
    std::vector<torch::Tensor> errors;
    std::vector<std::vector<torch::Tensor>> gradients(static_cast<std::size_t>(model->blocks()) + 1);
    for (const auto& [x, y] : batches) {
      auto found = true_gradients(model, x, y, objective);
      for (std::size_t l = 0; l < found.size(); ++l) gradients[l].push_back(std::move(found[l]));
      const torch::NoGradGuard no_grad;
      const scope::Untouched untouched(*model, x.device());
      errors.push_back(objective.error(model->forward(x), y));
    }
    if (errors.empty()) detail::fail("errors_and_gradients: there are no batches.");
    ErrorsAndGradients joined{at::cat(errors), {}};
    for (const auto& parts : gradients) joined.gradients.push_back(at::cat(parts));
    return joined;
  });
}

struct RidgeOptions {
  /// The values tried for r, in units of the mean of the diagonal of E^T E.
  std::vector<double> regularizations = {1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10};
  std::vector<double> regularisations = {};  ///< deprecated name: used instead if not empty
  double validation = 0.25;                  ///< the share of the training samples on which r is chosen
  std::uint64_t seed = 0;                    ///< of the split
  Bootstrap bootstrap = {};

  /// Throws Error for an invalid value.
  void check() const {
    if (tried().empty()) detail::fail("RidgeOptions: regularizations is empty, expected at least one.");
    for (const double r : tried()) {
      detail::expect::that(r > 0, "RidgeOptions", "a regularization", r, "a number > 0");
    }
    detail::expect::that(validation > 0 && validation < 1, "RidgeOptions", "validation", validation,
                         "a share between 0 and 1");
    bootstrap.check();
  }

  const std::vector<double>& tried() const { return regularisations.empty() ? regularizations : regularisations; }
};

/// The best linear feedback for one hidden state.
struct RidgeFit {
  Estimate gamma = {};         ///< on the held-out samples
  double regularization = 0;   ///< the chosen r
  double regularisation = 0;   ///< deprecated name: the same number
  torch::Tensor weights = {};  ///< (C, size of h_l) float64: e.mm(weights) is its credit

  /// The credit for errors (B, C), in the shape, dtype and device of `like`, h_l. Throws Error if the shapes do not
  /// fit.
  torch::Tensor credit(const torch::Tensor& errors, const torch::Tensor& like) const {
    return detail::translated([&] {
      return errors.to(weights.device(), torch::kFloat64)
          .mm(weights)
          .view(like.sizes())
          .to(like.device(), like.scalar_type());
    });
  }
};

/// The learning control: for each hidden state, the ridge regression from the error e to the true gradient, and its
/// Gamma on held-out samples.
///
///     W_l = argmin_W  sum_i ||e_i W - g_{l,i}||^2 + r ||W||^2
///
/// A learned source that does not beat it adds nothing to a fixed linear feedback of the error. There is no intercept.
/// r is chosen by Gamma on a validation part of `training`, and W is then fitted on all of `training`; `held_out` is
/// used once, at the end. In float64.
///
/// - Cost: N C d multiplications per hidden state and value of r.
/// - Throws Error if the two disagree in shape, `training` has fewer than two samples, or an option is invalid.
inline std::vector<RidgeFit> ridge_control(const ErrorsAndGradients& training, const ErrorsAndGradients& held_out,
                                           const RidgeOptions& options = {}) {
  options.check();
  if (training.gradients.size() != held_out.gradients.size()) {
    detail::fail("ridge_control: gradients at ", training.gradients.size(), " hidden states to fit and at ",
                 held_out.gradients.size(), " to hold out, expected the same.");
  }
  const std::int64_t n = training.errors.size(0);
  if (n < 2) detail::fail("ridge_control: ", n, " training samples, expected at least 2.");
  return detail::translated([&] {
    const torch::NoGradGuard no_grad;
    const auto order =
        at::randperm(n, seeded(options.seed), torch::TensorOptions(torch::kInt64)).to(training.errors.device());
    const auto chosen_on =
        std::clamp<std::int64_t>(std::llround(options.validation * static_cast<double>(n)), 1, n - 1);
    const auto validation = order.slice(0, 0, chosen_on), fitted = order.slice(0, chosen_on);
    const auto wide = [](const torch::Tensor& t) { return t.detach().flatten(1).to(torch::kFloat64); };
    const auto solve = [](const torch::Tensor& e, const torch::Tensor& g, double r) {
      const auto square = e.t().mm(e);
      const auto scale = square.diagonal().mean();
      return at::linalg_solve(square + r * scale * torch::eye(e.size(1), e.options()), e.t().mm(g));
    };
    const auto gamma = [](const torch::Tensor& a, const torch::Tensor& g) {
      const auto cosines = sample_cosines(a, g);
      return cosines.masked_select(cosines.isfinite());
    };
    const auto e = wide(training.errors), e_held = wide(held_out.errors);
    std::vector<RidgeFit> fits;
    for (std::size_t l = 0; l < training.gradients.size(); ++l) {
      auto& fit = fits.emplace_back();
      const auto g = wide(training.gradients[l]);
      if (!e.isfinite().all().item<bool>() || !g.isfinite().all().item<bool>() || !e.any().item<bool>()) {
        fit.gamma.reason = "the errors or gradients to fit are 0 or not finite";
        continue;
      }
      double best = -2;
      for (const double r : options.tried()) {
        const auto weights = solve(e.index_select(0, fitted), g.index_select(0, fitted), r);
        const auto cosines = gamma(e.index_select(0, validation).mm(weights), g.index_select(0, validation));
        const double mean = cosines.numel() == 0 ? -1.5 : cosines.mean().item<double>();
        if (mean > best) {
          best = mean;
          fit.regularization = fit.regularisation = r;
        }
      }
      fit.weights = solve(e, g, fit.regularization);
      const auto cosines = gamma(e_held.mm(fit.weights), wide(held_out.gradients[l]));
      if (cosines.numel() == 0) {
        fit.gamma.reason = "the gradient of every held-out sample is 0 or not finite";
      } else {
        fit.gamma = bootstrap_mean(cosines, options.bootstrap);
      }
    }
    return fits;
  });
}

}  // namespace creditlib::diagnostics
