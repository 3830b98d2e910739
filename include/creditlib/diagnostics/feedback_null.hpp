#pragma once

#include <cmath>
#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/statistics/permutation.hpp>
#include <cstdint>
#include <vector>

namespace creditlib::diagnostics {

struct FeedbackNullOptions {
  std::int64_t draws = 20;
  /// Draw i is made with seed + i; keep it away from the seed of the rule itself.
  std::uint64_t seed = 1'000'003;
};

/// A figure of a rule at one hidden state beside the same figure under fresh feedback.
struct FeedbackNull {
  Measured own = {};
  std::vector<double> draws = {};      ///< those that have a value
  Measured mean = {}, deviation = {};  ///< of the draws; deviation with 1/(n-1)
  Measured score = {};                 ///< (own - mean) / deviation
  Measured p = {};                     ///< (1 + #{draws >= own}) / (1 + n): 1/21 at the least with 20 draws
};

/// The fresh-feedback null distribution: what a rule's figure would be had its feedback been drawn again after
/// training. A figure inside it owes nothing to the network's having adapted to this feedback.
///
/// `own` is one figure a hidden state; `fresh(seed)` gives the same list with feedback drawn from `seed`, the trained
/// network kept (a new trainer of the same rule with that seed). Costs `draws` calls of it.
///
/// Throws Error for fewer than 1 draw and where a list is of another length. Source: the audit protocol's control of
/// fresh feedback matrices.
template <class Fresh>
std::vector<FeedbackNull> feedback_null(const std::vector<Measured>& own, const Fresh& fresh,
                                        const FeedbackNullOptions& options = {}) {
  if (options.draws < 1) {
    detail::fail("FeedbackNullOptions: draws is ", options.draws, ", expected at least 1.");
  }
  std::vector<FeedbackNull> found(own.size());
  for (std::int64_t i = 0; i < options.draws; ++i) {
    const std::vector<Measured> drawn = fresh(options.seed + static_cast<std::uint64_t>(i));
    if (drawn.size() != own.size()) {
      detail::fail("feedback_null: ", drawn.size(), " figures under fresh feedback, expected ", own.size(),
                              ": one a hidden state.");
    }
    for (std::size_t l = 0; l < own.size(); ++l) {
      if (drawn[l].value) found[l].draws.push_back(*drawn[l].value);
    }
  }
  for (std::size_t l = 0; l < own.size(); ++l) {
    auto& null = found[l];
    null.own = own[l];
    const auto n = static_cast<double>(null.draws.size());
    if (null.draws.empty()) {
      null.mean.reason = null.deviation.reason = null.score.reason = null.p.reason = "no draw has a value";
      continue;
    }
    double mean = 0, squares = 0;
    for (const double draw : null.draws) mean += draw / n;
    for (const double draw : null.draws) squares += (draw - mean) * (draw - mean);
    null.mean.value = mean;
    if (null.draws.size() < 2) {
      null.deviation.reason = "a deviation needs two draws";
    } else {
      null.deviation.value = std::sqrt(squares / (n - 1));
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

/// The same of Gamma: `credits` are the rule's, `gradients` the true ones, and `fresh_credits(seed)` gives the credits
/// for the same batch under feedback drawn from `seed`:
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
