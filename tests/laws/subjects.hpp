// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/testing/laws.hpp>
#include <string>

#include "../models.hpp"
#include "../test.hpp"

/// Rules on models as the laws see them.
namespace creditlib::test {

namespace laws = detail::laws;
using testing::failed;
using testing::held;
using testing::LawOptions;
using testing::not_applicable;
using testing::Report;
using testing::Verdict;

template <class Rule>
laws::Subject subject_of(Kind kind, const Rule& rule = {}, const LawOptions& options = {}) {
  if (kind == Kind::residual_mlp) return laws::subject_of(rule, testing::small_residual_mlp(), options, CrossEntropy{});
  return laws::subject_of(rule, stages_case(kind), options, CrossEntropy{});
}

/// What a report says of a law on a model.
inline Verdict verdict_in(const Report& report, const std::string& law, const std::string& model = "") {
  for (const auto& result : report.results) {
    if (result.law == law && result.model == model) return result.verdict;
  }
  throw Error("the report has no law \"" + law + "\" on model \"" + model + "\"");
}

}  // namespace creditlib::test
