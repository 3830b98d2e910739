// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ostream>
#include <string>
#include <utility>

namespace creditlib::test {

/// What a law says of a rule on a model.
struct Verdict {
  enum Outcome { Held, NotApplicable, Failed };

  Outcome outcome = Held;
  std::string what = {};  ///< why the law does not apply, or what is wrong

  bool operator==(const Verdict&) const = default;
};

inline Verdict held() { return {}; }
inline Verdict not_applicable(std::string reason) { return {Verdict::NotApplicable, std::move(reason)}; }
inline Verdict failed(std::string what) { return {Verdict::Failed, std::move(what)}; }

inline std::ostream& operator<<(std::ostream& out, const Verdict& verdict) {
  switch (verdict.outcome) {
    case Verdict::Held: return out << "held";
    case Verdict::NotApplicable: return out << "does not apply: " << verdict.what;
    case Verdict::Failed: return out << "failed: " << verdict.what;
  }
  return out;
}

}  // namespace creditlib::test
