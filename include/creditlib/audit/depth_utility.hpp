// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/audit/check.hpp>
#include <creditlib/error.hpp>
#include <creditlib/statistics/confidence.hpp>
#include <string>
#include <utility>
#include <vector>

namespace creditlib {
namespace detail {

inline void check_accuracies(const std::string& name, const std::vector<double>& accuracies) {
  if (accuracies.empty()) detail::fail("depth utility: ", name, " has no accuracies, expected one per seed.");
  for (const double accuracy : accuracies) {
    if (!(accuracy >= 0 && accuracy <= 1)) {
      detail::fail("depth utility: an accuracy of ", name, " is ", accuracy, ", expected a fraction between 0 and 1.");
    }
  }
}

}  // namespace detail

namespace audit {

/// D3, depth utility: mean accuracy minus the mean accuracy with frozen blocks, in points; fails below 2.0. Accuracies
/// are fractions, one per seed; the two lists may have different seeds. Throws Error for an empty list or an accuracy
/// outside 0..1.
inline Check depth_utility(const std::vector<double>& accuracies, const std::vector<double>& frozen,
                           double threshold = 2.0) {
  detail::check_accuracies("the rule", accuracies);
  detail::check_accuracies("frozen", frozen);
  const double points = 100 * (*diagnostics::student_mean(accuracies).value - *diagnostics::student_mean(frozen).value);
  return checked("D3", "points of accuracy above frozen blocks", {.value = points}, threshold, Fires::Below);
}

/// A baseline without trained blocks, and its accuracies.
struct Baseline {
  std::string name = {};                ///< "frozen, embed by DFA", "shallow", …
  std::vector<double> accuracies = {};  ///< fractions, for the same seeds in the same order as the rule's
};

/// D3 against the best of several baselines, in points, seed by seed, with a confidence interval; fails below 2.0.
struct DepthUtility {
  Check check = {};       ///< against the best baseline
  std::string best = {};  ///< the name of the best baseline: the one with the highest mean accuracy
  std::vector<std::pair<std::string, diagnostics::Estimate>> differences = {};  ///< points above each baseline
};

/// Compares the rule with the best baseline, seed by seed.
///
/// - Baselines: the frozen runs (embed trained by the rule's credit, embed trained by back-propagation) and the readout
///   on h_0, trained with the same settings and seeds as the rule.
/// - Differences are between runs with the same seed; their interval is Student's, and `check.decided()` says whether
///   it excludes the threshold. One seed has no interval.
/// - Throws Error without baselines, and unless there is one accuracy in 0..1 for each of the rule's seeds.
inline DepthUtility depth_utility_over_best(const std::vector<double>& accuracies,
                                            const std::vector<Baseline>& baselines, double threshold = 2.0,
                                            double level = 0.95) {
  detail::check_accuracies("the rule", accuracies);
  if (baselines.empty()) detail::fail("depth utility: there are no baselines to compare with.");
  DepthUtility found;
  double most = -1;
  for (const auto& baseline : baselines) {
    detail::check_accuracies(baseline.name, baseline.accuracies);
    if (baseline.accuracies.size() != accuracies.size()) {
      detail::fail("depth utility: ", baseline.name, " has ", baseline.accuracies.size(), " accuracies and the rule ",
                   accuracies.size(), ", expected the same seeds in the same order.");
    }
    std::vector<double> points;
    for (std::size_t i = 0; i < accuracies.size(); ++i) {
      points.push_back(100 * (accuracies[i] - baseline.accuracies[i]));
    }
    const auto difference = diagnostics::student_mean(points, level);
    found.differences.emplace_back(baseline.name, difference);
    const double mean = *diagnostics::student_mean(baseline.accuracies).value;
    if (!(mean > most)) continue;
    most = mean;
    found.best = baseline.name;
    found.check = checked("D3 against the best", "points of accuracy above " + baseline.name + ", seed by seed",
                          difference, threshold, Fires::Below, difference.interval);
  }
  return found;
}

}  // namespace audit
}  // namespace creditlib

namespace creditlib {
namespace protocol = audit;  // deprecated name
}
