// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/audit/check.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace creditlib::audit {

/// The result of a list of checks.
struct Verdict {
  bool passed = true;                   ///< no check fired; a check that was not measured does not fail, but is named
  std::vector<std::string> fired = {};  ///< names, in the order of the checks
  std::vector<std::string> not_measured = {};

  /// "PASS", "FAIL: D1, D3", "PASS (not measured: D3)".
  std::string text() const {
    const auto joined = [](const std::vector<std::string>& names) {
      std::string text;
      for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
      return text;
    };
    return (passed ? "PASS" : "FAIL: " + joined(fired)) +
           (not_measured.empty() ? "" : " (not measured: " + joined(not_measured) + ")");
  }
};

/// The verdict on a rule: PASS, or FAIL with the names of the checks that fired.
inline Verdict verdict(const std::vector<Check>& checks) {
  Verdict found;
  for (const auto& check : checks) {
    if (!check.fired) {
      found.not_measured.push_back(check.name);
    } else if (*check.fired) {
      found.passed = false;
      found.fired.push_back(check.name);
    }
  }
  return found;
}

/// The checks of a run, epoch by epoch.
class FiringHistory {
 public:
  struct Epoch {
    std::int64_t epoch;
    std::vector<Check> checks;
  };

  /// Records the checks of an epoch. Throws Error unless epochs ascend.
  void record(std::int64_t epoch, std::vector<Check> checks) {
    if (!epochs_.empty() && epoch <= epochs_.back().epoch) {
      detail::fail("FiringHistory: epoch ", epoch, " after epoch ", epochs_.back().epoch, ", expected a later one.");
    }
    epochs_.push_back({epoch, std::move(checks)});
  }

  const std::vector<Epoch>& epochs() const { return epochs_; }

  /// The names of all recorded checks, in the order of their first appearance.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [epoch, checks] : epochs_) {
      for (const auto& check : checks) {
        bool known = false;
        for (const auto& name : names) known = known || name == check.name;
        if (!known) names.push_back(check.name);
      }
    }
    return names;
  }

  /// The first epoch in which the check of this name fired; nullopt if it never did.
  std::optional<std::int64_t> first_fired(const std::string& name) const {
    for (const auto& [epoch, checks] : epochs_) {
      for (const auto& check : checks) {
        if (check.name == name && check.fired.value_or(false)) return epoch;
      }
    }
    return std::nullopt;
  }

 private:
  std::vector<Epoch> epochs_;
};

}  // namespace creditlib::audit

namespace creditlib {
namespace protocol = audit;  // deprecated name
}
