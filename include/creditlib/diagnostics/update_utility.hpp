// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <creditlib/detail/expect.hpp>
#include <creditlib/diagnostics/cosine.hpp>
#include <creditlib/diagnostics/detail/update_trial.hpp>
#include <creditlib/diagnostics/parameter_gradients.hpp>
#include <creditlib/diagnostics/trial_step.hpp>
#include <creditlib/diagnostics/updated_parts.hpp>
#include <creditlib/statistics/bootstrap.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace creditlib::diagnostics {

/// The learning rates that line searches try by default.
inline std::vector<double> line_search_etas() { return {1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2}; }

struct SnapshotUtilityOptions {
  std::vector<double> etas = line_search_etas();
  /// Which parts move; {.blocks = {{L - 1}}, .readout = true} moves the last block and the readout.
  UpdatedParts parts = {};
};

/// The update utility of one rule at one snapshot of training.
struct SnapshotUtility {
  std::optional<double> eta = {};                 ///< the rate with the largest fall on `same`
  Measured same_1 = {}, held_1 = {}, pur_1 = {};  ///< loss changes after one step on `same`
  Measured same_k = {}, held_k = {}, pur_k = {};  ///< loss changes after one step on each batch of the rollout
  Measured update_cosine = {};                    ///< mean pairwise cosine of the updates on the batches `across`
  Measured update_variance = {};                  ///< their mean_i ||u_i - mean u||^2 (1/n), in units of credit squared
};

/// Update utility from a single pair of batches, by the best step on one of them.
///
///     dL = CE(after) - CE(before),   PUR = -dL_held / (-dL_same + 1e-12) if dL_same < 0
///
/// - `update(x, y)` gives the rule's parameter gradients at the present parameters, in the order of a trainer's
///   gradients(x, y). The steps are plain steps p - eta u.
/// - eta has the lowest loss on `same` after a step on `same`, which makes the gain on `same` look larger than it is.
///   The k steps are on the batches of `rollout`, and `same` is not one of them. One pair of batches has no interval.
///   update_utility() avoids all three.
/// - The rule's credit must not depend on anything that a step changes other than the parameters.
/// - Parameters are restored to the bit. In the model's present mode.
/// - Throws Error if options.parts names a block that does not exist, or if an update moves no parameter or is not one
///   gradient per parameter.
template <BlockModel Model, class Update, class Batch, class Objective = CrossEntropy>
SnapshotUtility snapshot_utility(Model& model, const Update& update, const Batch& same, const Batch& held,
                                 const std::vector<Batch>& rollout, const std::vector<Batch>& across,
                                 const SnapshotUtilityOptions& options = {}, const Objective& objective = {}) {
  const detail::UpdateTrial trial(model, update, options.parts, objective);
  const auto& [same_x, same_y] = same;
  const auto& [held_x, held_y] = held;
  const double same_before = trial.loss(same_x, same_y), held_before = trial.loss(held_x, held_y);
  const auto finite = [](double value) -> Measured {
    if (!std::isfinite(value)) return {.reason = "the loss is not finite"};
    return {.value = value};
  };
  const auto utilization = [](const Measured& of_same, const Measured& of_held) -> Measured {
    if (!of_same.value || !of_held.value) return {.reason = "the loss is not finite"};
    if (!(*of_same.value < 0)) return {.reason = "the loss on the same batch does not fall"};
    return {.value = -*of_held.value / (-*of_same.value + 1e-12)};
  };

  SnapshotUtility found;
  const auto first = trial(same_x, same_y);
  double lowest = INFINITY;
  for (const double eta : options.etas) {
    TrialStep step(*model);
    step.step(first, eta);
    const double change = trial.loss(same_x, same_y) - same_before;
    if (change < lowest) {
      lowest = change;
      found.eta = eta;
      found.same_1 = finite(change);
      found.held_1 = finite(trial.loss(held_x, held_y) - held_before);
    }
  }
  if (found.eta) {
    found.pur_1 = utilization(found.same_1, found.held_1);
    TrialStep steps(*model);
    for (const auto& [x, y] : rollout) steps.step(trial(x, y), *found.eta);
    found.same_k = finite(trial.loss(same_x, same_y) - same_before);
    found.held_k = finite(trial.loss(held_x, held_y) - held_before);
    found.pur_k = utilization(found.same_k, found.held_k);
  } else {
    for (auto* none : {&found.same_1, &found.held_1, &found.pur_1, &found.same_k, &found.held_k, &found.pur_k}) {
      none->reason = "the loss is not finite at any eta";
    }
  }
  VectorSpread spread;
  for (const auto& [x, y] : across) spread.add(trial.flat(trial(x, y)));
  found.update_cosine = spread.mean_pairwise_cosine();
  found.update_variance = spread.variance();
  return found;
}

struct UpdateUtilityOptions {
  std::vector<double> etas = line_search_etas();
  UpdatedParts parts = {};  ///< by default every block, but not the readout, whose gradient is exact for every rule
  std::int64_t steps = 1;   ///< k, each on its own batch
  std::int64_t least_trials = 20;
  double least_errors = 3;  ///< PUR is undefined unless the same-batch gain is this many standard errors above 0
  Bootstrap bootstrap = {};

  /// Throws Error for an invalid value.
  void check() const {
    if (etas.empty()) detail::fail("UpdateUtilityOptions: etas is empty, expected at least one.");
    detail::expect::at_least("UpdateUtilityOptions", "steps", steps, 1);
    detail::expect::at_least("UpdateUtilityOptions", "least_trials", least_trials, 2);
    bootstrap.check();
  }
};

struct UpdateUtility {
  std::optional<double> eta = {};  ///< chosen on batches that no trial uses
  bool eta_is_at_an_end = false;   ///< eta is the smallest or largest tried: a wider search may find a better one
  std::int64_t trials = 0;
  Estimate same = {};  ///< mean loss change on the batches stepped on
  Estimate held = {};  ///< mean loss change on held-out batches
  Estimate pur = {};   ///< held / same
  /// Mean pairwise cosine of the trials' first updates.
  Measured update_cosine = {};
  /// The relative variance of these updates (see VectorSpread): 0 for equal updates, about 1 for unrelated ones.
  Measured update_variance = {};
};

/// Update utility: how much of an update's gain on its own batch carries over to other batches.
///
///     PUR = mean_i dL_held,i / mean_i dL_same,i
///
/// - Trial i starts at the present parameters, takes `steps` plain steps p - eta u, each on the next batch of
///   `training`, and measures the mean loss change on those batches and on held_out[i].
/// - `update(x, y)` gives the rule's parameter gradients at the present parameters (a trainer's gradients(x, y)).
/// - eta has the lowest mean loss change, over `eta_batches`, of one step on the batch itself; no trial uses those
///   batches.
/// - Pass batches for training.size() / steps trials, at least 20, with one held-out batch each: no batch is used
///   twice, so that trials are independent and bootstrap intervals over them are valid.
/// - PUR is a ratio of means; it is undefined if the gain on the same batch is within 3 standard errors of 0.
/// - Parameters are restored to the bit; nothing is changed. In the model's present mode; waits for the device.
/// - Cost: about trials (steps + 1) gradients and forward passes.
/// - Throws Error for invalid options, if there are no eta batches, and if an update moves no parameter or is not one
///   gradient per parameter.
template <BlockModel Model, class Update, class Batch, class Objective = CrossEntropy>
UpdateUtility update_utility(Model& model, const Update& update, const std::vector<Batch>& training,
                             const std::vector<Batch>& held_out, const std::vector<Batch>& eta_batches,
                             const UpdateUtilityOptions& options = {}, const Objective& objective = {}) {
  options.check();
  if (eta_batches.empty()) detail::fail("update_utility: there are no batches to choose eta on.");
  const detail::UpdateTrial trial(model, update, options.parts, objective);
  UpdateUtility found;
  const auto none = [&](const std::string& reason) {
    for (auto* figure : {&found.same, &found.held, &found.pur}) figure->reason = reason;
    found.update_cosine.reason = found.update_variance.reason = reason;
    return found;
  };
  const auto k = static_cast<std::size_t>(options.steps);
  const std::size_t trials = std::min(training.size() / k, held_out.size());
  found.trials = static_cast<std::int64_t>(trials);
  if (found.trials < options.least_trials) {
    return none(std::to_string(trials) + " trials of " + std::to_string(k) +
                " training batches and one held-out batch each, but at least " + std::to_string(options.least_trials) +
                " are needed");
  }

  std::vector<double> changes(options.etas.size(), 0);
  for (const auto& [x, y] : eta_batches) {
    const auto direction = trial(x, y);
    const double before = trial.loss(x, y);
    for (std::size_t i = 0; i < changes.size(); ++i) {
      TrialStep step(*model);
      step.step(direction, options.etas[i]);
      changes[i] += (trial.loss(x, y) - before) / static_cast<double>(eta_batches.size());
    }
  }
  double lowest = INFINITY;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    if (!(changes[i] < lowest)) continue;
    lowest = changes[i];
    found.eta = options.etas[i];
    found.eta_is_at_an_end = i == 0 || i + 1 == changes.size();
  }
  if (!found.eta) return none("the loss is not finite at any eta");

  std::vector<double> same, held;
  VectorSpread spread;
  for (std::size_t i = 0; i < trials; ++i) {
    const auto& [held_x, held_y] = held_out[i];
    double same_before = 0, same_after = 0;
    for (std::size_t j = 0; j < k; ++j) {
      const auto& [x, y] = training[i * k + j];
      same_before += trial.loss(x, y) / static_cast<double>(k);
    }
    const double held_before = trial.loss(held_x, held_y);
    TrialStep step(*model);
    for (std::size_t j = 0; j < k; ++j) {
      const auto& [x, y] = training[i * k + j];
      const auto direction = trial(x, y);
      if (j == 0) spread.add(trial.flat(direction));
      step.step(direction, *found.eta);
    }
    for (std::size_t j = 0; j < k; ++j) {
      const auto& [x, y] = training[i * k + j];
      same_after += trial.loss(x, y) / static_cast<double>(k);
    }
    same.push_back(same_after - same_before);
    held.push_back(trial.loss(held_x, held_y) - held_before);
  }
  found.update_cosine = spread.mean_pairwise_cosine();
  found.update_variance = spread.relative_variance();

  const auto of_same = torch::tensor(same, torch::kFloat64), of_held = torch::tensor(held, torch::kFloat64);
  if (!of_same.isfinite().all().item<bool>() || !of_held.isfinite().all().item<bool>()) {
    found.same.reason = found.held.reason = found.pur.reason = "the loss of a trial is not finite";
    return found;
  }
  found.same = bootstrap_mean(of_same, options.bootstrap);
  found.held = bootstrap_mean(of_held, options.bootstrap);
  const double standard_error = of_same.std().item<double>() / std::sqrt(static_cast<double>(trials));
  if (!(-*found.same.value > options.least_errors * standard_error)) {
    found.pur.reason = "the gain on the same batch is not " + std::to_string(options.least_errors).substr(0, 3) +
                       " standard errors above 0";
  } else {
    found.pur = bootstrap_ratio(of_held, of_same, options.bootstrap);
  }
  return found;
}

}  // namespace creditlib::diagnostics
