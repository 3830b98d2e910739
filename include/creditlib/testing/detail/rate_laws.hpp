// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/concepts.hpp>
#include <creditlib/testing/report.hpp>
#include <cstdint>
#include <string>
#include <vector>

/// The laws of rates.
namespace creditlib::detail::laws {

/// A rate in use: what bind returns, or itself.
template <class R>
auto rate_in_use(const R& rate) {
  if constexpr (BindsRate<R>) {
    return rate.bind();
  } else {
    return rate;
  }
}

/// Points of a run of 4 epochs of 25 steps, and beyond its end.
inline std::vector<Progress> points_of_a_run() {
  std::vector<Progress> points;
  for (std::int64_t step = 0; step < 150; ++step) points.push_back({step / 25, 4, step, step % 25});
  return points;
}

/// A factor is finite and not negative, and not 0 throughout.
template <class R>
Verdict factors_can_be_used(const R& policy) {
  const auto rate = rate_in_use(policy);
  bool any = false;
  for (const auto& now : points_of_a_run()) {
    const double factor = rate(now);
    if (!(factor >= 0) || std::isinf(factor)) {
      return failed("the factor in epoch " + std::to_string(now.epoch) + ", step " + std::to_string(now.step) + " is " +
                    std::to_string(factor));
    }
    any = any || factor != 0;
  }
  return any ? held() : failed("the factor is 0 throughout the run");
}

/// Asked again, in another order, a rate gives the same factors: it counts nothing by itself.
template <class R>
Verdict rate_keeps_nothing(const R& policy) {
  const auto rate = rate_in_use(policy);
  auto points = points_of_a_run();
  std::vector<double> factors;
  for (const auto& now : points) factors.push_back(rate(now));
  for (std::size_t i = points.size(); i-- > 0;) {
    if (rate(points[i]) != factors[i]) return failed("asked again, a point of the run has another factor");
  }
  return held();
}

/// Restored from its named tensors, a rate that takes reports goes on.
template <class R>
Verdict rate_resumes(const R& policy) {
  auto first = rate_in_use(policy);
  using InUse = decltype(first);
  if constexpr (!TakesReports<InUse>) {
    return not_applicable("the rate takes no reports");
  } else if constexpr (!HasNamedTensors<InUse>) {
    return failed("the rate takes reports and has no named_tensors(), so a checkpoint forgets them");
  } else {
    const auto report = [](auto& rate, double from, int number) {
      for (int i = 0; i < number; ++i) rate.report(from + 0.01 * (i % 3));
    };
    auto resumed = rate_in_use(policy);
    report(first, 1, 17);
    report(resumed, 0.2, 40);
    const NamedTensors from = first.named_tensors();
    NamedTensors to = resumed.named_tensors();
    for (std::size_t i = 0; i < from.size(); ++i) to.at(i).second.copy_(from[i].second);
    for (int i = 0; i < 60; ++i) {
      report(first, 0.9, 1);
      report(resumed, 0.9, 1);
      if (first(Progress{}) != resumed(Progress{})) return failed("a restored rate gives other factors");
    }
    return held();
  }
}

}  // namespace creditlib::detail::laws
