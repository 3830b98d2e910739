// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <creditlib/concepts.hpp>
#include <creditlib/error.hpp>
#include <creditlib/loss/inner_product.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/normalizer/row_rms.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/schedule/always.hpp>
#include <creditlib/schedule/blend.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <creditlib/schedule/warmup.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "../hidden_shapes.hpp"
#include "../models.hpp"
#include "../test.hpp"
#include "verdict.hpp"

/// The laws of normalizers, local losses, objectives and schedules, and the policies that they are about.
namespace creditlib::test {

inline std::string text(const Shape& shape) {
  std::string said = "(";
  for (const auto size : shape) said += (said.size() > 1 ? ", " : "") + std::to_string(size);
  return said + ")";
}

/// The samples 1..3 of a batch.
inline torch::Tensor part_of(const torch::Tensor& batch) { return batch.narrow(0, 1, 3); }

// ---- The policies. A new one joins by one line. ----

struct WideRowRms : RowRms {
  WideRowRms() : RowRms{.eps = 0.3} {}
};
using Normalizers = std::tuple<RowRms, WideRowRms, Raw>;

struct MeanInnerProduct : InnerProduct {
  MeanInnerProduct() : InnerProduct{.mean_over_positions = true} {}
};
struct MeanPenalizedInnerProduct : PenalizedInnerProduct {
  MeanPenalizedInnerProduct() : PenalizedInnerProduct{.lambda = 0.3, .mean_over_positions = true} {}
};
using LocalLosses = std::tuple<InnerProduct, MeanInnerProduct, PenalizedInnerProduct, MeanPenalizedInnerProduct>;

using Objectives = std::tuple<CrossEntropy, SquaredError>;
/// A target that fits an objective's logits, (B, C).
inline torch::Tensor target_for(const CrossEntropy&, const torch::Tensor& logits) {
  return torch::randint(logits.size(1), {logits.size(0)});
}
inline torch::Tensor target_for(const SquaredError&, const torch::Tensor& logits) { return torch::randn_like(logits); }

struct LateSwitch : SwitchAt {
  LateSwitch() : SwitchAt{.epoch = 6, .lead = 3} {}
};
struct ShortWarmup : Warmup {
  ShortWarmup() : Warmup{.epochs = 0, .ramp = 1} {}
};
using Schedules = std::tuple<Always, Blend, SwitchAt, LateSwitch, Warmup, ShortWarmup>;

// ---- Laws of normalizers ----

namespace law {

/// The result has the shape and dtype of the credit, which stays as it was.
template <Normalizer N>
Verdict normalizer_keeps_the_form(const N& normalizer) {
  torch::manual_seed(1);
  for (const auto& shapes : {state_shapes, channel_shapes}) {
    for (const auto& shape : shapes) {
      for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
        const auto a = torch::randn(shape).to(dtype), before = a.clone();

        const torch::Tensor normalized = normalizer(a);

        if (normalized.sizes() != a.sizes()) return failed("credit " + text(shape) + " gets another shape");
        if (normalized.scalar_type() != dtype) return failed("credit " + text(shape) + " gets another dtype");
        if (!torch::equal(a, before)) return failed("credit " + text(shape) + " is overwritten");
      }
    }
  }
  return held();
}

/// A sample's result does not depend on the others.
template <Normalizer N>
Verdict normalizer_is_per_sample(const N& normalizer) {
  torch::manual_seed(2);
  for (const auto& shape : state_shapes) {
    const auto a = torch::randn(shape, torch::kFloat64);
    if (distance(part_of(normalizer(a)), normalizer(part_of(a))) > 1e-14) {
      return failed("credit " + text(shape) + " depends on the rest of the batch");
    }
  }
  return held();
}

/// Factors get the numbers that the credit gets that they are.
template <Normalizer N>
Verdict normalizer_factors_agree(const N& normalizer) {
  if constexpr (!detail::NormalizesFactors<N>) {
    return not_applicable("the normalizer does not take factors");
  } else {
    torch::manual_seed(3);
    for (const auto& [features, rank] : {std::pair{40, 3}, std::pair{4, 20}}) {
      const FactoredCredit plain{torch::randn({7, rank}, torch::kFloat64),
                                 torch::randn({features, rank}, torch::kFloat64)};
      for (const auto& a : {plain, plain.scaled(torch::randn({7, 1}, torch::kFloat64))}) {
        if (distance(normalizer.factored(a).dense(), normalizer(a.dense())) > 1e-12) {
          return failed("factors of rank " + std::to_string(rank) + " are other credit");
        }
      }
    }
    return held();
  }
}

// ---- Laws of local losses ----

/// The loss is a scalar of f's dtype; f and a stay as they were.
template <LocalLoss L>
Verdict local_loss_is_a_scalar(const L& loss) {
  torch::manual_seed(4);
  for (std::size_t i = 0; i < state_shapes.size(); ++i) {
    for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
      const auto f = torch::randn(state_shapes[i]).to(dtype), a = torch::randn(channel_shapes[i]).to(dtype);
      const auto f_before = f.clone(), a_before = a.clone();

      const torch::Tensor value = loss(f, a);

      if (value.dim() != 0 || value.scalar_type() != dtype) return failed("the loss is no scalar of f's dtype");
      if (!torch::equal(f, f_before) || !torch::equal(a, a_before)) return failed("f or a is overwritten");
    }
  }
  return held();
}

template <LocalLoss L>
torch::Tensor gradient_by_autograd(const L& loss, const torch::Tensor& f, const torch::Tensor& a) {
  const auto leaf = f.clone().requires_grad_();
  return torch::autograd::grad({loss(leaf, a)}, {leaf})[0];
}

/// output_gradient is the loss's gradient in f, and has f's shape.
template <LocalLoss L>
Verdict output_gradient_is_the_gradient(const L& loss) {
  if constexpr (!detail::HasOutputGradient<L>) {
    return not_applicable("the loss has no output_gradient");
  } else {
    torch::manual_seed(5);
    for (std::size_t i = 0; i < state_shapes.size(); ++i) {
      const auto f = torch::randn(state_shapes[i], torch::kFloat64);
      for (const auto& shape : {state_shapes[i], channel_shapes[i]}) {
        const auto a = torch::randn(shape, torch::kFloat64);
        if (distance(loss.output_gradient(f, a), gradient_by_autograd(loss, f, a)) > 1e-13) {
          return failed("output_gradient is another than autograd's for f " + text(state_shapes[i]));
        }
      }
    }
    return held();
  }
}

/// The loss is a batch mean: a sample's gradient times B is the same in a smaller batch.
template <LocalLoss L>
Verdict local_loss_is_a_batch_mean(const L& loss) {
  torch::manual_seed(6);
  for (const auto& shape : state_shapes) {
    const auto f = torch::randn(shape, torch::kFloat64), a = torch::randn(shape, torch::kFloat64);
    const auto whole = 5 * gradient_by_autograd(loss, f, a);
    const auto part = 3 * gradient_by_autograd(loss, part_of(f), part_of(a));
    if (distance(part_of(whole), part) > 1e-13) return failed("the gradient of f " + text(shape) + " is not of a mean");
  }
  return held();
}

/// multiple_of_credit is the k for which the gradient is k a, whatever f.
template <LocalLoss L>
Verdict multiple_of_credit_is_the_multiple(const L& loss) {
  if constexpr (!detail::MultipleOfCreditFromSizes<L>) {
    return not_applicable("the loss has no multiple_of_credit");
  } else {
    torch::manual_seed(7);
    for (std::size_t i = 0; i < state_shapes.size(); ++i) {
      const auto k = loss.multiple_of_credit(torch::IntArrayRef(state_shapes[i]));
      if (!k) continue;
      const auto f = torch::randn(state_shapes[i], torch::kFloat64),
                 a = torch::randn(channel_shapes[i], torch::kFloat64);
      if (distance(gradient_by_autograd(loss, f, a), (*k * a).expand_as(f)) > 1e-13) {
        return failed("the gradient of f " + text(state_shapes[i]) + " is another multiple");
      }
    }
    return held();
  }
}

/// The embed's loss has the gradient of autograd too.
template <LocalLoss L>
Verdict embed_loss_is_a_local_loss(const L& loss) {
  if constexpr (!detail::HasEmbedLoss<L>) {
    return not_applicable("the loss has no embed_loss");
  } else {
    return output_gradient_is_the_gradient(loss.embed_loss());
  }
}

// ---- Laws of objectives ----

struct Outputs {
  torch::Tensor logits, target;
};
template <Objective O>
Outputs outputs_for(const O& objective) {
  torch::manual_seed(8);
  const auto logits = torch::randn({5, 3}, torch::kFloat64) * 3;
  return {logits, target_for(objective, logits)};
}

/// error is the gradient of loss in the logits, which stay as they were.
template <Objective O>
Verdict error_is_the_gradient_of_loss(const O& objective) {
  const auto [logits, target] = outputs_for(objective);
  const auto leaf = logits.clone().requires_grad_();
  const auto loss = objective.loss(leaf, target);
  if (loss.sizes() != torch::IntArrayRef({5})) return failed("loss is not per sample");
  const auto before = logits.clone();

  const auto error = objective.error(logits, target);

  if (!torch::equal(logits, before)) return failed("error overwrites the logits");
  const auto gradient = torch::autograd::grad({loss.sum()}, {leaf})[0];
  return distance(error, gradient) < 1e-14 ? held() : failed("error is not the gradient of loss");
}

/// A sample's loss and error do not depend on the others.
template <Objective O>
Verdict objective_is_per_sample(const O& objective) {
  const auto [logits, target] = outputs_for(objective);
  const auto z = part_of(logits), y = part_of(target);

  if (distance(part_of(objective.loss(logits, target)), objective.loss(z, y)) > 1e-14) {
    return failed("loss depends on the rest of the batch");
  }
  return distance(part_of(objective.error(logits, target)), objective.error(z, y)) < 1e-14
             ? held()
             : failed("error depends on the rest of the batch");
}

/// check accepts a target that fits, and throws Error for one of another batch, of another dtype, or none.
template <Objective O>
Verdict check_refuses_what_does_not_fit(const O& objective) {
  const auto [logits, target] = outputs_for(objective);
  const auto refuses = [&, &z = logits](const torch::Tensor& y) {
    const auto message = error_of([&] { objective.check(z, y); });
    return message != "(nothing was thrown)" && message.find("(another exception)") == std::string::npos;
  };

  if (refuses(target)) return failed("check refuses a target that fits");
  for (const auto& wrong : {part_of(target), target.to(torch::kInt16), torch::Tensor()}) {
    if (!refuses(wrong)) return failed("check accepts a target that does not fit");
  }
  return held();
}

/// correct counts samples: a whole number in 0..B, and adds up over parts of the batch.
template <Objective O>
Verdict correct_counts(const O& objective) {
  if constexpr (!detail::CountsCorrect<O>) {
    return not_applicable("the objective has no correct");
  } else {
    const auto [logits, target] = outputs_for(objective);
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

// ---- Laws of schedules ----

/// Asks a question of each of some points of a run; the first that does not hold fails.
template <class Question>
Verdict at_every_progress(const Question& question) {
  std::int64_t step = 0;
  for (const std::int64_t epochs : {1, 12}) {
    for (std::int64_t epoch = 0; epoch <= epochs; ++epoch) {
      for (int i = 0; i < 3; ++i) {
        const Verdict verdict = question(Progress{.epoch = epoch, .epochs = epochs, .step = step++});
        if (verdict.outcome == Verdict::Failed) return verdict;
      }
    }
  }
  return held();
}

/// The weights are shares: in 0..1, and 1 together.
template <Schedule S>
Verdict weights_are_shares(const S& schedule) {
  return at_every_progress([&](const Progress& now) {
    double sum = 0;
    for (const double weight : schedule.weights(now)) {
      if (!(weight >= 0 && weight <= 1)) return failed("a weight is outside 0..1");
      sum += weight;
    }
    return std::abs(sum - 1) < 1e-12 ? held() : failed("the weights are not 1 together");
  });
}

/// The same point of a run has the same answers, however often and in whatever order it is asked.
template <Schedule S>
Verdict schedule_keeps_nothing(const S& schedule) {
  const Progress first{.epoch = 3, .epochs = 12, .step = 30};
  const auto before = schedule.weights(first);
  const auto verdict = at_every_progress([&](const Progress& now) {
    return schedule.weights(now) == schedule.weights(now) ? held() : failed("asked again it has another answer");
  });
  if (verdict.outcome == Verdict::Failed) return verdict;
  return schedule.weights(first) == before ? held() : failed("asked later it has another answer");
}

/// A source that has a weight learns.
template <Schedule S>
Verdict weighted_sources_learn(const S& schedule) {
  if constexpr (!detail::SaysWhatLearns<S>) {
    return not_applicable("the schedule has no learns");
  } else {
    return at_every_progress([&](const Progress& now) {
      const auto weights = schedule.weights(now);
      const auto learns = schedule.learns(now);
      for (std::size_t i = 0; i < weights.size(); ++i) {
        if (weights[i] != 0 && !learns[i]) return failed("a source with a weight does not learn");
      }
      return held();
    });
  }
}

}  // namespace law
}  // namespace creditlib::test
