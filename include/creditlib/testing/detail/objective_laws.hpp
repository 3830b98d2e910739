// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>
#include <torch/csrc/autograd/autograd.h>

#include <creditlib/concepts.hpp>
#include <creditlib/error.hpp>
#include <creditlib/testing/detail/compare.hpp>
#include <creditlib/testing/detail/shapes.hpp>
#include <creditlib/testing/report.hpp>
#include <cstdint>
#include <exception>
#include <functional>

/// Laws of objectives.
namespace creditlib::detail::laws {

/// Makes a target that fits logits (B, C).
using MakeTarget = std::function<torch::Tensor(const torch::Tensor& logits)>;

/// Labels, or numbers in the shape of the logits if an objective refuses labels.
template <Objective O>
torch::Tensor target_for(const O& objective, const torch::Tensor& logits) {
  const auto labels = torch::randint(logits.size(1), {logits.size(0)});
  try {
    objective.check(logits, labels);
    return labels;
  } catch (const std::exception&) {
    return torch::randn_like(logits);
  }
}

/// Five samples of three classes.
struct Outputs {
  torch::Tensor logits, target;
};
template <Objective O>
Outputs outputs_for(const O& objective, const MakeTarget& make_target) {
  at::manual_seed(8);
  const auto logits = torch::randn({5, 3}, torch::kFloat64) * 3;
  return {logits, make_target ? make_target(logits) : target_for(objective, logits)};
}

/// error is the gradient of loss in the logits, which stay as they were.
template <Objective O>
Verdict error_is_the_gradient_of_loss(const O& objective, const Outputs& outputs) {
  const auto& [logits, target] = outputs;
  const auto leaf = logits.clone().requires_grad_();
  const auto loss = objective.loss(leaf, target);
  if (loss.sizes() != torch::IntArrayRef({5})) return failed("loss is not per sample");
  const auto before = logits.clone();

  const auto error = objective.error(logits, target);

  if (!torch::equal(logits, before)) return failed("error overwrites the logits");
  const auto gradient = torch::autograd::grad({loss.sum()}, {leaf})[0];
  return distance(error, gradient) < 1e-13 ? held() : failed("error is not the gradient of loss");
}

/// A sample's loss and error do not depend on the others.
template <Objective O>
Verdict objective_is_per_sample(const O& objective, const Outputs& outputs) {
  const auto& [logits, target] = outputs;
  const auto z = part_of(logits), y = part_of(target);

  if (distance(part_of(objective.loss(logits, target)), objective.loss(z, y)) > 1e-13) {
    return failed("loss depends on the rest of the batch");
  }
  return distance(part_of(objective.error(logits, target)), objective.error(z, y)) < 1e-13
             ? held()
             : failed("error depends on the rest of the batch");
}

/// check accepts a target that fits, and throws Error for each of another batch, of another dtype, and none, that loss
/// cannot take.
template <Objective O>
Verdict check_refuses_what_loss_cannot_take(const O& objective, const Outputs& outputs) {
  const auto& [logits, target] = outputs;
  const auto refused = [&objective, &z = logits](const torch::Tensor& y) {
    try {
      objective.check(z, y);
      return false;
    } catch (const Error&) {
      return true;
    }
  };
  const auto taken = [&objective, &z = logits](const torch::Tensor& y) {
    try {
      return torch::Tensor(objective.loss(z, y)).sizes() == torch::IntArrayRef({z.size(0)});
    } catch (const std::exception&) {
      return false;
    }
  };

  if (refused(target)) return failed("check refuses a target that fits");
  for (const auto& wrong : {part_of(target), target.to(torch::kInt16), torch::Tensor()}) {
    if (!refused(wrong) && !taken(wrong)) return failed("check accepts a target that does not fit");
  }
  return held();
}

/// correct counts samples: a whole number in 0..B, and adds up over parts of the batch.
template <Objective O>
Verdict correct_counts(const O& objective, const Outputs& outputs) {
  if constexpr (!CountsCorrect<O>) {
    return not_applicable("the objective has no correct");
  } else {
    const auto& [logits, target] = outputs;
    const auto count = [&](const torch::Tensor& z, const torch::Tensor& y) {
      return objective.correct(z, y).template item<double>();
    };
    double sum = 0;
    for (std::int64_t b = 0; b < 5; ++b) {
      const double one = count(logits.narrow(0, b, 1), target.narrow(0, b, 1));
      if (one != 0 && one != 1) return failed("one sample counts neither 0 nor 1");
      sum += one;
    }
    return sum == count(logits, target) ? held() : failed("the parts do not add up");
  }
}

}  // namespace creditlib::detail::laws
