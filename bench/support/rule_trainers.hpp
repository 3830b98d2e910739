// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/any_trainer.hpp>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/diagnostics/alignment.hpp>
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/error.hpp>
#include <creditlib/local_trainer.hpp>
#include <optional>
#include <string>
#include <type_traits>

#include "registry/rules.hpp"
#include "support/phases.hpp"
#include "support/stepper.hpp"

namespace bench {

/// RowRms without its form for factors: credit is multiplied out.
struct DenseRowRms {
  torch::Tensor operator()(const torch::Tensor& a) const { return MarkedRowRms{}(a); }
};

/// What is measured of the registry's parts: of a rule that is trained after a warm-up, the rule itself.
template <class Credit>
Credit measured(const Credit& credit) {
  return credit;
}
template <class First, class Second>
Second measured(const creditlib::Mix<First, Second>& mix) {
  return mix.second;
}

inline MarkedRowRms marked(const creditlib::RowRms& normalizer) { return {normalizer}; }
inline creditlib::Raw marked(const creditlib::Raw& normalizer) { return normalizer; }

inline creditlib::TrainerOptions trainer_options(const Settings& s) {
  creditlib::TrainerOptions options;
  const auto path = s.resolved_path();
  options.path = path == "generic" ? creditlib::Path::Generic : creditlib::Path::ClosedForm;
  if (path == "constant_memory") options.memory = creditlib::Memory::Constant;
  if (s.precision == "bf16") options.precision = creditlib::MatmulPrecision::BFloat16;
  // The CNN script clips each block to 1 in all rules but bp; with ep all parameters together.
  if (s.model == "cnn" && s.rule != "bp") options.clip_norm = 1.0;
  if (s.model == "cnn" && s.rule == "ep") options.clip_scope = creditlib::ClipScope::All;
  return options;
}

inline registry::RuleSettings rule_settings(const Settings& s) {
  const bool script = s.model == "cnn";
  return {.batch_size = s.batch, .by_element = script, .ep = {.inner_mean = script, .outer_sum = script}};
}

/// The rule of the settings on a model; the file of each model has its instance, since each takes long to compile.
template <class Model>
Stepper stepper_on(Model model, const Settings& s, bool mean_over_positions) {
  using namespace creditlib;
  const auto options = trainer_options(s);
  std::optional<AnyTrainer> trainer;
  registry::Graphed (*graphed)(AnyTrainer&) = nullptr;
  const auto take = [&]<class Own>(Own own) {
    trainer = AnyTrainer(std::move(own));
    graphed = &registry::graphed<Own>;
  };
  const auto local = [&](const auto& credit, const auto& normalizer) {
    take(LocalTrainer(model, credit, options, Always{}, normalizer, MarkedInnerProduct{{mean_over_positions}},
                      MarkedCrossEntropy{}));
  };
  if (s.rule == "dfa_dense") {
    if constexpr (requires { model->closed_form(); }) {
      local(registry::dfa(rule_settings(s)), DenseRowRms{});
    } else {
      throw Error("dfa_dense is a rule of networks whose credit is kept as factors; use dfa");
    }
  }
  registry::with_rule(s.rule, [&](const auto& rule) {
    const auto parts = rule.make(rule_settings(s));
    if constexpr (std::is_same_v<decltype(parts), const registry::Backprop>) {
      take(BackpropTrainer(model, options, MarkedCrossEntropy{}));
    } else {
      auto credit = measured(parts.credit);
      if constexpr (creditlib::detail::Learns<CreditState<decltype(credit), Model>, Model>) {
        if constexpr (requires { credit.lr; }) {
          if (!s.nets_learn()) credit.lr = 0;
        }
        local(MarkedSource<decltype(credit)>{credit}, marked(parts.normalizer));
      } else {
        local(credit, marked(parts.normalizer));
      }
    }
  });
  return {std::move(trainer.value()),
          [model](AnyTrainer& any, const torch::Tensor& x, const torch::Tensor& y) mutable {
            diagnostics::alignment(any.raw_credits(x, y), diagnostics::true_gradients(model, x, y));
          },
          graphed};
}

}  // namespace bench
