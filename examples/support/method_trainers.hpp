// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/backprop_trainer.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <optional>
#include <string>
#include <type_traits>

#include "registry/rules.hpp"
#include "support/methods.hpp"
#include "support/program.hpp"

namespace support {

/// InnerProduct, or PenalizedInnerProduct if there is a penalty: chosen at run time, so that each rule is compiled
/// once.
struct BranchLoss {
  double penalty = 0;
  bool mean_over_positions = false;

  torch::Tensor operator()(const torch::Tensor& f, const torch::Tensor& a) const {
    return penalty == 0 ? embed_loss()(f, a) : penalized()(f, a);
  }
  torch::Tensor output_gradient(const torch::Tensor& f, const torch::Tensor& a) const {
    return penalty == 0 ? embed_loss().output_gradient(f, a) : penalized().output_gradient(f, a);
  }
  std::optional<double> multiple_of_credit(torch::IntArrayRef sizes) const {
    return penalty == 0 ? embed_loss().multiple_of_credit(sizes) : std::nullopt;
  }
  creditlib::InnerProduct embed_loss() const { return {.mean_over_positions = mean_over_positions}; }

 private:
  creditlib::PenalizedInnerProduct penalized() const {
    return {.lambda = penalty, .mean_over_positions = mean_over_positions};
  }
};

template <class Model, class Objective>
Trainer rule_trainer(const std::string& name, Model model, const MethodSettings& s, bool mean_over_positions,
                     const Objective& objective) {
  const Trainer::WithSeed with_seed = [=](std::int64_t seed) {
    auto other = s;
    other.options.seed = seed;
    return rule_trainer(name, model, other, mean_over_positions, objective);
  };
  std::optional<Trainer> made;
  const bool known = registry::with_rule(name, [&](const auto& rule) {
    const auto parts = rule.make(s.rule);
    if constexpr (std::is_same_v<decltype(parts), const registry::Backprop>) {
      made.emplace(creditlib::BackpropTrainer(model, s.options, objective, s.penalty), with_seed, objective);
    } else {
      made.emplace(creditlib::LocalTrainer(model, parts.credit, s.options, parts.schedule, parts.normalizer,
                                           BranchLoss{s.penalty, mean_over_positions}, objective),
                   with_seed, objective);
    }
  });
  if (!known) throw UsageError("there is no rule " + name);
  return std::move(*made);
}

}  // namespace support
