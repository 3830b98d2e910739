// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/testing/detail/credit_laws.hpp>
#include <creditlib/testing/detail/dtype_laws.hpp>
#include <creditlib/testing/detail/law.hpp>
#include <creditlib/testing/detail/reading_laws.hpp>
#include <creditlib/testing/detail/seed_laws.hpp>
#include <creditlib/testing/detail/state_laws.hpp>
#include <creditlib/testing/detail/step_laws.hpp>
#include <string>
#include <vector>

/// The laws of credit rules by name, and what each does not apply to.
namespace creditlib::detail::laws {

inline std::string without_formula(const About& about) {
  return about.by_formula ? "" : "the model has no closed form";
}
inline std::string without_learning(const About& about) { return about.learns ? "" : "the rule does not learn"; }
inline std::string without_draws(const About& about) { return about.draws ? "" : "the rule draws nothing"; }
inline std::string meant_to_be_true(const About& about) {
  return about.true_gradient ? "the rule says that it may use the true gradient" : "";
}
inline std::string silent(const About& about) {
  return about.says_what_it_reads ? "" : "the rule does not say what it reads";
}
inline std::string reading_more(const About& about) {
  return about.reads_error_only ? "" : "the rule does not declare reads_error_only";
}
inline std::string of_one_process(const About& about) {
  return about.block_parallel ? "" : "the rule does not declare block_parallel";
}
inline std::string learning_in_one_process(const About& about) {
  const auto one = of_one_process(about);
  return one.empty() ? without_learning(about) : one;
}
inline std::string without_constant_memory(const About& about) {
  const auto reads_more = reading_more(about);
  return reads_more.empty() ? without_formula(about) : reads_more;
}
inline std::string other_masks(const About& about) {
  return about.draws_masks ? "the model's random masks are others in float64" : "";
}
inline std::string mixed_samples(const About& about) {
  if (!about.per_sample) return "LawOptions::per_sample is false";
  if (about.couples_samples) return "the rule declares couples_samples";
  if (about.draws_masks) return "the model's random masks are others in a smaller batch";
  return about.mixes_samples ? "the model mixes samples" : "";
}

inline const std::vector<Law>& every_law() {
  static const std::vector<Law> laws{
      {"one seed, one credit", same_seed_same_credits},
      {"another seed, another credit", other_seed_other_credits, without_draws},
      {"bind leaves torch's generator", binding_leaves_global_generator},
      {"credit fits the output", credits_fit},
      {"credit is detached", credit_is_detached},
      {"previews change nothing", previews_change_nothing},
      {"credits() is what a step uses", credits_are_what_step_uses},
      {"a step is one forward pass", step_runs_one_forward},
      {"formula and autograd agree in float64", paths_agree_in_float64, without_formula},
      {"formula and autograd agree in float32", paths_agree_in_float32, without_formula},
      {"one state in float32 and float64", same_state_in_float64},
      {"one credit in float32 and float64", same_draws_in_float64, other_masks},
      {"a float64 model gets float64 digits", float64_has_its_digits},
      {"credit is per sample", credit_is_per_sample, mixed_samples},
      {"grad mode changes no credit", grad_mode_changes_no_credit},
      {"credit alone changes nothing", credit_alone_changes_nothing},
      {"learning leaves the model", learning_leaves_the_model, without_learning},
      {"a resumed run is the same", resumed_run_with_adamw},
      {"a resumed run with SGD is the same", resumed_run_with_sgd},
      {"credits are normalized by sample", normalized_by_sample},
      {"credit is not the true gradient", credit_is_not_the_true_gradient, meant_to_be_true},
      {"credit reads what it says", credit_reads_what_it_says, silent},
      {"factored credit reads error and target alone", factored_credit_reads_error_and_target_alone, reading_more},
      {"constant memory changes no gradient", constant_memory_changes_no_gradient, without_constant_memory},
      {"a block's credit needs its own states alone", credit_needs_own_states_alone, of_one_process},
      {"a block's learning needs its own states alone", learning_needs_own_states_alone, learning_in_one_process}};
  return laws;
}

}  // namespace creditlib::detail::laws
