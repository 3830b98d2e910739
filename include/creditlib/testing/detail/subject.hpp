// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>

#include <algorithm>
#include <creditlib/closed_form/model.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/statistics/seeded.hpp>
#include <creditlib/testing/detail/compare.hpp>
#include <creditlib/testing/detail/every_law.hpp>
#include <creditlib/testing/detail/law.hpp>
#include <creditlib/testing/detail/law_trainer.hpp>
#include <creditlib/testing/detail/snapshot.hpp>
#include <creditlib/testing/law_options.hpp>
#include <creditlib/testing/model_case.hpp>
#include <creditlib/testing/report.hpp>
#include <creditlib/trainer/source_traits.hpp>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

/// A rule on a model as the laws see it, and what they say of it.
namespace creditlib::detail::laws {

/// h_0..h_L and the logits of one forward pass.
template <class Model>
std::vector<torch::Tensor> forward_states(Model& model, const torch::Tensor& x) {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> states{model->embed(x)};
  for (std::int64_t l = 0; l < model->blocks(); ++l) {
    const torch::Tensor h = states.back();
    states.push_back(model->join(l, h, model->block(l, h)));
  }
  states.push_back(model->readout(states.back()));
  return states;
}

/// What a model is like, by looking at forward passes.
template <class Model>
void look_at_model(const testing::ModelCase<Model>& model_case, About& about) {
  auto model = model_case.model(torch::kFloat64);
  const auto x = model_case.batch_of(torch::kFloat64).x;
  about.embed = has_embed(model);
  about.by_formula = closed_form::of(model).has_value();
  const auto generator = global_generator_state();
  const auto whole = forward_states(model, x);
  about.draws_masks = !torch::equal(generator, global_generator_state());
  if (about.draws_masks) return;  // two passes differ by that alone
  const auto part = forward_states(model, x.narrow(0, 2, 3));
  for (std::size_t l = 0; l < whole.size(); ++l)
    about.mixes_samples = about.mixes_samples || distance(whole[l].narrow(0, 2, 3), part[l]) > 1e-9;
}

/// Whether a rule draws from the generator that it is given, or has tensors that may be random.
inline bool may_draw(LawTrainer& trainer) {
  const auto seed = static_cast<std::uint64_t>(Setting{}.options.seed);
  std::uint64_t i = 0;
  for (const auto& [name, tensor] : snapshot(trainer)) {
    if (of_the_source(name)) return true;
    if (own_generator(name) && !torch::equal(tensor, statistics::seeded(seed, i++).get_state())) return true;
  }
  return false;
}

/// A rule on a model. Throws what bind and the first step throw, except for Error: that is a refusal.
template <class Rule, class Model, class Objective>
Subject subject_of(const Rule& rule, const testing::ModelCase<Model>& model_case, const testing::LawOptions& options,
                   const Objective& objective) {
  using Traits = SourceTraits<Rule, Model>;
  using Trainer = TrainerOf<Model, Rule, Objective>;
  Subject subject;
  subject.make = [=](const Setting& setting) -> std::unique_ptr<LawTrainer> {
    const auto model = model_case.model(setting.dtype, setting.weights_seed);
    at::manual_seed(setting.global_seed);
    return std::make_unique<Trainer>(model, rule, setting.options, objective);
  };
  subject.make_batch = [=](torch::Dtype dtype, std::int64_t size, std::uint64_t seed) {
    return model_case.batch_of(dtype, size, seed);
  };
  const auto rights = Traits::rights();
  auto& about = subject.about;
  about.learns = Trainer::learns();
  about.reads_error_only = Traits::reads_error_only && Traits::count == 1;
  about.block_parallel = Traits::block_parallel;
  about.true_gradient = options.true_gradient || std::ranges::any_of(rights, &TraceRights::pullback);
  about.per_sample = options.per_sample;
  about.couples_samples = Trainer::couples_samples();
  try {
    const auto trainer = subject.make({});
    trainer->step(subject.batch());
    about.says_what_it_reads = trainer->reads().has_value();
    about.draws = options.draws && may_draw(*trainer);
  } catch (const Error& error) {
    about.refusal = error.what();
  }
  if (about.refusal.empty()) look_at_model(model_case, about);
  return subject;
}

inline constexpr const char* trains_the_model = "the rule trains the model";
inline constexpr const char* refuses_the_model = "the rule refuses the model: ";

/// What every law says of a rule on a model.
template <class Rule, class Model, class Objective>
testing::Report report_on(const Rule& rule, const testing::ModelCase<Model>& model_case,
                          const testing::LawOptions& options, const Objective& objective) {
  testing::Report report;
  const auto say = [&](const std::string& law, const Verdict& verdict) {
    report.results.push_back({law, model_case.name, verdict});
  };
  try {
    const auto subject = subject_of(rule, model_case, options, objective);
    const auto& refusal = subject.about.refusal;
    say(trains_the_model, refusal.empty() ? held() : not_applicable(refuses_the_model + refusal));
    for (const auto& law : every_law()) say(law.name, law.of(subject));
  } catch (const std::exception& error) {
    say(trains_the_model, failed(std::string("an exception: ") + error.what()));
  }
  return report;
}

/// A rule that trains none of the models is no rule for them.
inline void fail_if_all_are_refused(testing::Report& report) {
  const auto first = [](const testing::Result& result) { return result.law == trains_the_model; };
  for (const auto& result : report.results) {
    if (first(result) && result.verdict.outcome != Verdict::NotApplicable) return;
  }
  for (auto& result : report.results) {
    if (first(result)) result.verdict.outcome = Verdict::Failed;
  }
}

}  // namespace creditlib::detail::laws
