// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>
#include <torch/csrc/autograd/autograd.h>

#include <creditlib/parameter_parts.hpp>
#include <creditlib/testing/detail/compare.hpp>
#include <creditlib/testing/detail/law.hpp>
#include <creditlib/testing/detail/snapshot.hpp>
#include <creditlib/trainer_options.hpp>
#include <functional>
#include <map>
#include <string>
#include <vector>

/// Laws of what a step makes of a rule's credit.
namespace creditlib::detail::laws {

/// Asking for credits or gradients changes nothing: no parameter, gradient, running statistic, generator or state, nor
/// the next step, on another batch of the same size.
inline Verdict previews_change_nothing(const Subject& subject) {
  const auto batch = subject.batch(), other = subject.batch(torch::kFloat32, 5, 12);
  const auto next = subject.batch(torch::kFloat32, 7, 13);
  const auto trainer = subject.make({}), without = subject.make({});
  at::manual_seed(5);
  trainer->step(other);
  at::manual_seed(5);
  without->step(other);

  const std::vector<std::function<std::vector<torch::Tensor>()>> previews{[&] { return trainer->credits(batch); },
                                                                          [&] { return trainer->raw_credits(batch); },
                                                                          [&] { return trainer->gradients(batch); }};
  for (const auto& preview : previews) {
    const auto before = snapshot(*trainer);
    const auto once = preview();
    if (const auto changed = difference(before, snapshot(*trainer)); !changed.empty()) return failed(changed);
    if (!same(once, preview())) return failed("a second call gives another answer");
  }

  at::manual_seed(6);
  trainer->step(next);
  const auto after_previews = snapshot(*trainer);
  at::manual_seed(6);
  without->step(next);
  return held_if_none(difference(snapshot(*without), after_previews));
}

/// The parameters' gradients of a local step from these credits alone: each output against its credit, one backward at
/// a time. The readout's is the objective's.
inline std::vector<torch::Tensor> gradients_from(LawTrainer& trainer, const std::vector<torch::Tensor>& credits,
                                                 const Batch& batch) {
  std::map<const void*, torch::Tensor> found;
  const auto buffers = trainer.module().buffers(), before = copies(buffers);
  const auto outputs = trainer.local_outputs(batch);
  const auto parameters = distinct_parameters(trainer.module());
  const auto size = static_cast<double>(batch.x.size(0));
  const auto transport = trainer.transport();
  for (std::size_t l = 0; l < outputs.size(); ++l) {
    if (!outputs[l].requires_grad()) continue;
    const bool readout = l + 1 == outputs.size();
    const auto loss = readout ? trainer.loss(outputs[l], batch.y) : (outputs[l] * credits[l]).sum() / size;
    const ExchangedStorages exchanged(transport);
    const auto gradients = torch::autograd::grad({loss}, parameters, {}, false, false, /*allow_unused=*/true);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      auto& sum = found[parameters[i].unsafeGetTensorImpl()];  // blocks may share it
      if (gradients[i].defined()) sum = sum.defined() ? sum + gradients[i] : gradients[i];
    }
  }
  for (std::size_t i = 0; i < buffers.size(); ++i) torch::Tensor(buffers[i]).set_data(before[i]);
  std::vector<torch::Tensor> in_order;
  for (const auto& parameter : parameters) in_order.push_back(found[parameter.unsafeGetTensorImpl()]);
  return in_order;
}

/// A step's gradients are those that gradients() shows, and those of one backward a block from the credits that
/// credits() shows, at the states at which the rule has the local step run.
inline Verdict credits_are_what_step_uses(const Subject& subject) {
  const auto batch = subject.batch(torch::kFloat64);
  const auto trainer = subject.make({.dtype = torch::kFloat64});
  const auto generator = [] { at::manual_seed(5); };
  generator();
  trainer->step(subject.batch(torch::kFloat64, 5, 12));
  generator();
  const auto credits = trainer->credits(batch);
  const auto shown = trainer->gradients(batch);
  const auto from_credits = gradients_from(*trainer, credits, batch);

  generator();
  trainer->step(batch);

  const auto used = gradients_of(trainer->module());
  if (!same(used, shown)) return failed("gradients() shows others than the step has");
  const double apart = distance(used, from_credits);
  return apart < 1e-12 ? held() : failed("the gradients are " + std::to_string(apart) + " from those of the credits");
}

/// A step is one forward pass: running statistics and torch's generator go on as they do in one call of the model.
inline Verdict step_runs_one_forward(const Subject& subject) {
  const auto batch = subject.batch();
  const auto trainer = subject.make({}), plain = subject.make({});

  at::manual_seed(5);
  plain->separate_outputs(batch.x);
  const auto buffers = copies(plain->module().buffers());
  const auto generator = global_generator_state();
  at::manual_seed(5);
  trainer->step(batch);

  if (!same(copies(trainer->module().buffers()), buffers))
    return failed("running statistics are not those of one forward pass");
  return torch::equal(global_generator_state(), generator)
             ? held()
             : failed("torch's generator is not where one forward pass leaves it");
}

/// By formula and by autograd a step has the same gradients and the same update, to rounding.
inline Verdict paths_agree(const Subject& subject, torch::Dtype dtype, double tolerance) {
  const auto batch = subject.batch(dtype), other = subject.batch(dtype, 5, 12);
  const auto fastest = subject.make({.dtype = dtype, .options = {.seed = 7, .path = Path::ClosedForm}});
  const auto generic = subject.make({.dtype = dtype, .options = {.seed = 7, .path = Path::Generic}});
  const auto between = [&](auto&& action) {
    at::manual_seed(5);
    const auto a = action(*fastest);
    at::manual_seed(5);
    return distance(a, action(*generic));
  };

  if (between([&](LawTrainer& t) { return t.gradients(batch); }) > tolerance) return failed("gradients() differ");
  if (between([&](LawTrainer& t) {
        t.step(batch);
        return gradients_of(t.module());
      }) > tolerance) {
    return failed("a step's gradients differ");
  }
  // Adam's first steps go by the sign of a gradient, so rounding moves a parameter whose gradient is almost 0.
  if (between([&](LawTrainer& t) {
        t.step(other);
        return gradients_of(t.module());
      }) > 1e4 * tolerance) {
    return failed("the second step's gradients differ");
  }
  return held();
}

inline Verdict paths_agree_in_float64(const Subject& subject) { return paths_agree(subject, torch::kFloat64, 1e-11); }

}  // namespace creditlib::detail::laws
