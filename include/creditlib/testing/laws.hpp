// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/concepts.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/scope/generators.hpp>
#include <creditlib/testing/detail/subject.hpp>
#include <creditlib/testing/law_options.hpp>
#include <creditlib/testing/model_case.hpp>
#include <creditlib/testing/policy_laws.hpp>
#include <creditlib/testing/report.hpp>
#include <creditlib/testing/small_models.hpp>
#include <initializer_list>
#include <vector>

/// Holds a credit rule to the laws that every rule must obey:
///
///     const auto report = creditlib::testing::check_laws(MyRule{});
///     if (!report.ok()) std::cerr << report.text();
///
/// It needs no test framework. docs/testing_rules.md says what the laws are.
namespace creditlib::testing {

/// Holds a rule to the laws on these models, with batches that fit the objective.
///
/// - A model that the rule refuses, with an Error from bind or the first step, is one that no law applies to; that the
///   rule refuses all of them is a failure.
/// - A law in which something is thrown has failed; the others go on.
/// - torch's global generator is left as it was.
/// - Cost: about 100 steps and 100 checkpoints in a temporary folder per model.
template <class Rule, BlockModel Model, class Objective = CrossEntropy>
Report check_laws(const Rule& rule, const std::vector<ModelCase<Model>>& models, const LawOptions& options = {},
                  const Objective& objective = {}) {
  const scope::RestoredGlobalGenerators generators(torch::kCPU);
  Report report;
  for (const auto& model : models) report += detail::laws::report_on(rule, model, options, objective);
  detail::laws::fail_if_all_are_refused(report);
  return report;
}

/// The same for models in braces: check_laws(rule, {mine, another}).
template <class Rule, BlockModel Model, class Objective = CrossEntropy>
Report check_laws(const Rule& rule, std::initializer_list<ModelCase<Model>> models, const LawOptions& options = {},
                  const Objective& objective = {}) {
  return check_laws(rule, std::vector<ModelCase<Model>>(models), options, objective);
}

/// The same on small_residual_mlp() and small_sequential_blocks(), in one report: about a second.
template <class Rule>
  requires(!detail::laws::Policy<Rule>)
Report check_laws(const Rule& rule, const LawOptions& options = {}) {
  const scope::RestoredGlobalGenerators generators(torch::kCPU);
  const CrossEntropy objective;
  auto report = detail::laws::report_on(rule, small_residual_mlp(), options, objective);
  for (const auto& model : small_sequential_blocks())
    report += detail::laws::report_on(rule, model, options, objective);
  detail::laws::fail_if_all_are_refused(report);
  return report;
}

}  // namespace creditlib::testing
