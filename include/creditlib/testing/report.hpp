// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace creditlib::testing {

/// What a law says of one part, on one model.
struct Verdict {
  enum Outcome { Held, NotApplicable, Failed };

  Outcome outcome = Held;
  std::string what = {};  ///< why the law does not apply, or what is wrong

  /// "held", "does not apply: …" or "failed: …".
  std::string text() const {
    if (outcome == Held) return "held";
    return (outcome == Failed ? "failed: " : "does not apply: ") + what;
  }
  bool operator==(const Verdict&) const = default;
};

inline Verdict held() { return {}; }
inline Verdict not_applicable(std::string reason) { return {Verdict::NotApplicable, std::move(reason)}; }
inline Verdict failed(std::string what) { return {Verdict::Failed, std::move(what)}; }

inline std::ostream& operator<<(std::ostream& out, const Verdict& verdict) { return out << verdict.text(); }

/// One law asked on one model.
struct Result {
  std::string law;
  std::string model;  ///< the ModelCase's name; empty for a law that needs no model
  Verdict verdict;
};

/// What check_laws found: one result per law and model, in the order in which they were asked.
struct Report {
  std::vector<Result> results = {};

  /// Whether no law failed, and at least one was checked and held.
  bool ok() const { return count(Verdict::Failed) == 0 && count(Verdict::Held) > 0; }

  std::int64_t count(Verdict::Outcome outcome) const {
    return std::count_if(results.begin(), results.end(),
                         [&](const Result& result) { return result.verdict.outcome == outcome; });
  }

  /// Several lines: a summary, then the laws that failed and what was seen, then those that held, then those that do
  /// not apply and why.
  std::string text() const {
    std::vector<Law> laws;
    for (const auto& [name, model, verdict] : results) {
      auto law = std::find_if(laws.begin(), laws.end(), [&, &wanted = name](const Law& l) { return l.name == wanted; });
      if (law == laws.end()) law = laws.insert(laws.end(), Law{name});
      law->add(model, verdict);
    }
    const auto said_of = [&](Verdict::Outcome outcome) {
      std::string said;
      for (const auto& law : laws) {
        if (law.outcome() == outcome) said += law.text();
      }
      return said;
    };
    const auto number = [&](Verdict::Outcome outcome) {
      return std::count_if(laws.begin(), laws.end(), [&](const Law& l) { return l.outcome() == outcome; });
    };
    const auto counted = [](std::int64_t n, const char* one, const char* several) {
      return std::to_string(n) + (n == 1 ? one : several);
    };
    if (laws.empty()) return "no law was asked\n";
    return "of " + counted(static_cast<std::int64_t>(laws.size()), " law ", " laws ") +
           std::to_string(number(Verdict::Failed)) + " failed, " + std::to_string(number(Verdict::Held)) + " held, " +
           counted(number(Verdict::NotApplicable), " does not apply\n", " do not apply\n") + said_of(Verdict::Failed) +
           said_of(Verdict::Held) + said_of(Verdict::NotApplicable);
  }

  /// Adds the results of another report.
  Report& operator+=(const Report& other) {
    results.insert(results.end(), other.results.begin(), other.results.end());
    return *this;
  }

 private:
  /// The models of which one law says the same.
  struct Same {
    Verdict verdict;
    std::string models;
  };
  struct Law {
    std::string name;
    std::vector<Same> said = {};

    void add(const std::string& model, const Verdict& verdict) {
      for (auto& [said_before, models] : said) {
        if (said_before != verdict) continue;
        models += ", " + model;
        return;
      }
      said.push_back({verdict, model});
    }
    /// The worst: failed, held, does not apply.
    Verdict::Outcome outcome() const {
      const auto any = [&](Verdict::Outcome outcome) {
        return std::any_of(said.begin(), said.end(), [&](const Same& same) { return same.verdict.outcome == outcome; });
      };
      if (any(Verdict::Failed)) return Verdict::Failed;
      return any(Verdict::Held) ? Verdict::Held : Verdict::NotApplicable;
    }
    std::string text() const {
      static const char* const marks[] = {"held   ", "-      ", "FAILED "};
      std::string lines = marks[outcome()] + name + "\n";
      for (const auto outcome : {Verdict::Failed, Verdict::Held, Verdict::NotApplicable}) {
        for (const auto& [verdict, models] : said) {
          if (verdict.outcome != outcome || (models.empty() && outcome == Verdict::Held)) continue;
          lines += "         " + (models.empty() ? "" : "on " + models + ": ") + verdict.text() + "\n";
        }
      }
      return lines;
    }
  };
};

}  // namespace creditlib::testing

namespace creditlib::detail::laws {
using testing::failed;
using testing::held;
using testing::not_applicable;
using testing::Verdict;
}  // namespace creditlib::detail::laws
