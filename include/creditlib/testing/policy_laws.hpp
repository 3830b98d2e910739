// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <creditlib/concepts.hpp>
#include <creditlib/error.hpp>
#include <creditlib/scope/generators.hpp>
#include <creditlib/testing/detail/clip_laws.hpp>
#include <creditlib/testing/detail/local_loss_laws.hpp>
#include <creditlib/testing/detail/normalizer_laws.hpp>
#include <creditlib/testing/detail/objective_laws.hpp>
#include <creditlib/testing/detail/optimizer_laws.hpp>
#include <creditlib/testing/detail/rate_laws.hpp>
#include <creditlib/testing/detail/schedule_laws.hpp>
#include <creditlib/testing/report.hpp>
#include <exception>
#include <string>

/// Holds a normalizer, a local loss, an objective, a schedule, an optimizer, a rate or a clip to the laws of its kind:
///
///     const auto report = creditlib::testing::check_laws(MyNormalizer{});
///
/// The kind is found by the concept that the type fulfills.
namespace creditlib::detail::laws {

/// An optimizer with bind: LibTorch's own are not tested here.
template <class O>
concept OwnOptimizer = std::copy_constructible<O> && GivesOptimizer<O>;

template <class P>
concept Policy =
    Normalizer<P> || LocalLoss<P> || Objective<P> || Schedule<P> || OwnOptimizer<P> || RatePolicy<P> || ClipPolicy<P>;

/// Adds what one law says; a law in which something is thrown has failed.
template <class Law>
void add(testing::Report& report, const char* name, const Law& law) {
  const auto verdict = [&]() -> Verdict {
    try {
      return translated(law);
    } catch (const std::exception& error) {
      return failed(std::string("an exception: ") + error.what());
    }
  }();
  report.results.push_back({name, "", verdict});
}

}  // namespace creditlib::detail::laws

namespace creditlib::testing {

/// Holds a normalizer to its laws, on credit for hidden states (B, d), (B, N, d) and (B, C, H, W).
template <Normalizer N>
Report check_laws(const N& normalizer) {
  using namespace detail::laws;
  const scope::RestoredGlobalGenerators generators(torch::kCPU);
  Report report;
  add(report, "a normalizer keeps shape and dtype", [&] { return normalizer_keeps_the_form(normalizer); });
  add(report, "a normalizer works on each sample alone", [&] { return normalizer_is_per_sample(normalizer); });
  add(report, "factors are normalized as the credit is", [&] { return normalizer_factors_agree(normalizer); });
  return report;
}

/// Holds a local loss to its laws, on outputs (B, d), (B, N, d) and (B, C, H, W) and credit that fits or broadcasts.
template <LocalLoss L>
Report check_laws(const L& loss) {
  using namespace detail::laws;
  const scope::RestoredGlobalGenerators generators(torch::kCPU);
  Report report;
  add(report, "a local loss is a scalar", [&] { return local_loss_is_a_scalar(loss); });
  add(report, "a local loss is a batch mean", [&] { return local_loss_is_a_batch_mean(loss); });
  add(report, "output_gradient is the gradient", [&] { return output_gradient_is_the_gradient(loss); });
  add(report, "multiple_of_credit is the multiple", [&] { return multiple_of_credit_is_the_multiple(loss); });
  add(report, "embed_loss has its gradient", [&] { return embed_loss_is_a_local_loss(loss); });
  return report;
}

/// Holds an objective to its laws, on logits (5, 3) float64 and the target that `target` makes for them; without it
/// labels, or numbers in the shape of the logits if check refuses labels.
template <Objective O>
Report check_laws(const O& objective, const detail::laws::MakeTarget& target = {}) {
  using namespace detail::laws;
  const scope::RestoredGlobalGenerators generators(torch::kCPU);
  const auto outputs = outputs_for(objective, target);
  Report report;
  add(report, "error is the gradient of loss", [&] { return error_is_the_gradient_of_loss(objective, outputs); });
  add(report, "loss and error are per sample", [&] { return objective_is_per_sample(objective, outputs); });
  add(report, "check refuses what loss cannot take",
      [&] { return check_refuses_what_loss_cannot_take(objective, outputs); });
  add(report, "correct counts samples", [&] { return correct_counts(objective, outputs); });
  return report;
}

/// Holds a schedule to its laws, at points of short and long runs.
template <Schedule S>
Report check_laws(const S& schedule) {
  using namespace detail::laws;
  Report report;
  add(report, "weights can be used", [&] { return weights_can_be_used(schedule); });
  add(report, "the same progress gives the same weights", [&] { return schedule_keeps_nothing(schedule); });
  return report;
}

/// Holds an optimizer to its laws, on a matrix and a vector with rates of their own.
template <detail::laws::OwnOptimizer O>
Report check_laws(const O& optimizer) {
  using namespace detail::laws;
  Report report;
  add(report, "a step moves what has a gradient", [&] { return step_moves_what_has_a_gradient(optimizer); });
  add(report, "the rate is lr times the factor", [&] { return rate_is_lr_times_factor(optimizer); });
  add(report, "nothing moves at the rate 0", [&] { return nothing_moves_at_rate_0(optimizer); });
  add(report, "an optimizer resumes from its named tensors", [&] { return optimizer_resumes(optimizer); });
  add(report, "float32 takes the steps of float64", [&] { return optimizer_takes_both_dtypes(optimizer); });
  return report;
}

/// Holds a rate to its laws, over a run of 4 epochs of 25 steps and beyond its end.
template <RatePolicy R>
Report check_laws(const R& rate) {
  using namespace detail::laws;
  Report report;
  add(report, "factors can be used", [&] { return factors_can_be_used(rate); });
  add(report, "the same progress gives the same factor", [&] { return rate_keeps_nothing(rate); });
  add(report, "a rate resumes from its named tensors", [&] { return rate_resumes(rate); });
  return report;
}

/// Holds a clip to its laws, on gradients of an embed, two blocks and a readout, one of which is frozen.
template <ClipPolicy C>
Report check_laws(const C& clip) {
  using namespace detail::laws;
  Report report;
  add(report, "a clip keeps shapes and leaves the tensors as they are", [&] { return clip_keeps_the_form(clip); });
  add(report, "the same gradients are clipped alike", [&] { return clip_keeps_nothing(clip); });
  return report;
}

}  // namespace creditlib::testing
