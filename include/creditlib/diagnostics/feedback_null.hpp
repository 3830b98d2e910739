// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <creditlib/detail/expect.hpp>
#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/statistics/mean_and_variance.hpp>
#include <creditlib/statistics/permutation.hpp>
#include <cstdint>
#include <vector>

namespace creditlib::diagnostics {

struct FeedbackNullOptions {
  std::int64_t draws = 20;
  /// Draw i uses seed + i; choose it away from the seed of the rule itself.
  std::uint64_t seed = 1'000'003;
};

/// A rule's figure at one hidden state and its distribution under fresh feedback.
struct FeedbackNull {
  Measured own = {};
  std::vector<double> draws = {};      ///< the figures of the draws, if defined
  Measured mean = {}, deviation = {};  ///< of the draws; deviation with 1/(n-1)
  Measured score = {};                 ///< (own - mean) / deviation
  Measured p = {};                     ///< (1 + #{draws >= own}) / (1 + n); at least 1/21 with 20 draws
};

/// The fresh-feedback null distribution: the rule's figure if its feedback is drawn again after training. A figure
/// within that distribution does not show that the network has adapted to its feedback.
///
/// - `own` holds one figure per hidden state; `fresh(seed)` gives the same list with feedback drawn from `seed` and the
///   trained network kept (a new trainer of the same rule with that seed).
/// - Cost: `draws` calls of `fresh`.
/// - Throws Error for fewer than 1 draw, or if a list has another length.
template <class Fresh>
std::vector<FeedbackNull> feedback_null(const std::vector<Measured>& own, const Fresh& fresh,
                                        const FeedbackNullOptions& options = {}) {
  detail::expect::at_least("FeedbackNullOptions", "draws", options.draws, 1);
  std::vector<FeedbackNull> found(own.size());
  for (std::int64_t i = 0; i < options.draws; ++i) {
    const std::vector<Measured> drawn = fresh(options.seed + static_cast<std::uint64_t>(i));
    if (drawn.size() != own.size()) {
      detail::fail("feedback_null: ", drawn.size(), " figures under fresh feedback, expected ", own.size(),
                   ": one per hidden state.");
    }
    for (std::size_t l = 0; l < own.size(); ++l) {
      if (drawn[l].value) found[l].draws.push_back(*drawn[l].value);
    }
  }
  for (std::size_t l = 0; l < own.size(); ++l) {
    auto& null = found[l];
    null.own = own[l];
    if (null.draws.empty()) {
      null.mean.reason = null.deviation.reason = null.score.reason = null.p.reason = "no draw has a value";
      continue;
    }
    const auto [mean, variance] = statistics::mean_and_variance(null.draws);
    null.mean.value = mean;
    if (variance) {
      null.deviation.value = std::sqrt(*variance);
    } else {
      null.deviation.reason = "a deviation needs two draws";
    }
    if (!null.own.value) {
      null.score.reason = null.p.reason = null.own.reason;
      continue;
    }
    null.p.value = rank_p(*null.own.value, null.draws);
    if (!null.deviation.value || *null.deviation.value == 0) {
      null.score.reason = "the draws do not differ";
    } else {
      null.score.value = (*null.own.value - mean) / *null.deviation.value;
    }
  }
  return found;
}

/// feedback_null() of Gamma: `credits` are the rule's, `gradients` the true ones, and `fresh_credits(seed)` gives the
/// credits for the same batch under feedback drawn from `seed`:
///
///     feedback_null_alignment(trainer.raw_credits(x, y), true_gradients(model, x, y), [&](std::uint64_t seed) {
///       return LocalTrainer(model, DFA{}, {.seed = static_cast<std::int64_t>(seed)}).raw_credits(x, y);
///     });
template <class FreshCredits>
std::vector<FeedbackNull> feedback_null_alignment(const std::vector<torch::Tensor>& credits,
                                                  const std::vector<torch::Tensor>& gradients,
                                                  const FreshCredits& fresh_credits,
                                                  const FeedbackNullOptions& options = {}) {
  return feedback_null(
      alignment(credits, gradients), [&](std::uint64_t seed) { return alignment(fresh_credits(seed), gradients); },
      options);
}

}  // namespace creditlib::diagnostics
