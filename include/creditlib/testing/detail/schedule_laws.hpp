// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <creditlib/concepts.hpp>
#include <creditlib/progress.hpp>
#include <creditlib/testing/report.hpp>
#include <cstdint>
#include <string>

/// Laws of schedules.
namespace creditlib::detail::laws {

/// " in epoch 3 of 12, step 30".
inline std::string at(const Progress& now) {
  return " in epoch " + std::to_string(now.epoch) + " of " + std::to_string(now.epochs) + ", step " +
         std::to_string(now.step);
}

/// Asks a question of each of some points of a run; the first that does not hold fails.
template <class Question>
Verdict at_every_progress(const Question& question) {
  std::int64_t step = 0;
  for (const std::int64_t epochs : {1, 12}) {
    for (std::int64_t epoch = 0; epoch <= epochs; ++epoch) {
      for (int i = 0; i < 3; ++i) {
        const Verdict verdict = question(Progress{.epoch = epoch, .epochs = epochs, .step = step++});
        if (verdict.outcome == Verdict::Failed) return verdict;
      }
    }
  }
  return held();
}

/// The weights are finite, and not all 0.
template <Schedule S>
Verdict weights_can_be_used(const S& schedule) {
  return at_every_progress([&](const Progress& now) {
    bool any = false;
    for (const double weight : schedule.weights(now)) {
      if (!std::isfinite(weight)) return failed("a weight is not finite" + at(now));
      any = any || weight != 0;
    }
    return any ? held() : failed("all weights are 0" + at(now));
  });
}

/// The same point of a run has the same answers, however often and in whatever order it is asked.
template <Schedule S>
Verdict schedule_keeps_nothing(const S& schedule) {
  const Progress first{.epoch = 3, .epochs = 12, .step = 30};
  const auto before = schedule.weights(first);
  const auto verdict = at_every_progress([&](const Progress& now) {
    return schedule.weights(now) == schedule.weights(now) ? held() : failed("asked again it has another answer");
  });
  if (verdict.outcome == Verdict::Failed) return verdict;
  return schedule.weights(first) == before ? held() : failed("asked later it has another answer");
}

}  // namespace creditlib::detail::laws
