// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>

#include <creditlib/testing/detail/compare.hpp>
#include <creditlib/testing/detail/law.hpp>

/// Laws of where a rule's random numbers come from.
namespace creditlib::detail::laws {

/// The same seed gives the same credits to the bit, whatever torch's global generator is at.
inline Verdict same_seed_same_credits(const Subject& subject) {
  const auto batch = subject.batch();
  const auto first = subject.make({.global_seed = 3}), again = subject.make({.global_seed = 4});

  at::manual_seed(5);
  const auto a = first->credits(batch);
  at::manual_seed(5);
  const auto b = again->credits(batch);

  return same(a, b) ? held() : failed("two trainers of one seed have different credits");
}

/// A rule with random numbers gets others from another seed: at the start, or after a step if it draws in learn alone.
inline Verdict other_seed_other_credits(const Subject& subject) {
  const auto batch = subject.batch();
  const auto first = subject.make({}), other = subject.make({.options = {.seed = 8}});
  const auto credits = [&](LawTrainer& trainer) {
    at::manual_seed(5);
    return trainer.credits(batch);
  };
  // One that comes from the true gradient, as FA's last and a Mix with the oracle have it, may be the same: not all.
  if (!same(credits(*first), credits(*other))) return held();
  for (auto* trainer : {first.get(), other.get()}) {
    at::manual_seed(6);
    trainer->step(batch);
  }
  return same(credits(*first), credits(*other))
             ? failed("another seed changes no credit; for a rule that draws nothing set LawOptions::draws to false")
             : held();
}

/// Making a trainer takes nothing from torch's global generator, and does not seed it.
inline Verdict binding_leaves_global_generator(const Subject& subject) {
  subject.make({.global_seed = 6});
  const auto made = global_generator_state();
  at::manual_seed(6);

  return torch::equal(made, global_generator_state()) ? held() : failed("bind uses torch's global generator");
}

}  // namespace creditlib::detail::laws
