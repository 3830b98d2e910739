// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>

#include <algorithm>
#include <creditlib/diagnostics/cosine.hpp>
#include <creditlib/error.hpp>
#include <creditlib/reads.hpp>
#include <creditlib/testing/detail/block_alone.hpp>
#include <creditlib/testing/detail/compare.hpp>
#include <creditlib/testing/detail/law.hpp>
#include <creditlib/testing/detail/law_trainer.hpp>
#include <creditlib/trainer_options.hpp>
#include <optional>
#include <string>

/// Laws of what a rule reads.
namespace creditlib::detail::laws {

/// Whether every sample's credit has the direction of g, as far as there is a direction.
inline bool points_along(const torch::Tensor& a, const torch::Tensor& g) {
  if (!a.defined() || a.sizes() != g.sizes() || g.numel() == g.size(0)) return false;  // one number has no direction
  return diagnostics::sample_cosines(a, g).gt(1 - 1e-9).all().item<bool>();
}

/// Below h_L a rule's credit is not, everywhere, the true gradient at the block's output or at its input. At h_L every
/// rule may have it: Trace::loss_gradient.
inline Verdict credit_is_not_the_true_gradient(const Subject& subject) {
  const auto batch = subject.batch(torch::kFloat64);
  const auto trainer = subject.make({.dtype = torch::kFloat64});
  at::manual_seed(5);
  const auto a = trainer->raw_credits(batch);
  at::manual_seed(5);
  const auto g = trainer->true_gradients(batch);
  const std::size_t first = subject.about.embed ? 0 : 1, last = a.size() - 1;
  if (first == last) return not_applicable("the model has no hidden state below h_L");

  bool output = true, input = last > 1;
  for (std::size_t l = first; l < last; ++l) {
    output = output && points_along(a[l], g[l]);
    if (l > 0) input = input && points_along(a[l], g[l - 1]);
  }
  if (!output && !input) return held();
  return failed(std::string("credit is the true gradient at the block's ") + (output ? "output" : "input") +
                "; a rule that is meant to be says so with wants_pullback or LawOptions::true_gradient");
}

/// Credit changes with what the rule says that it reads, and with nothing else. What has no effect in a network of one
/// block says nothing.
inline Verdict credit_reads_what_it_says(const Subject& subject) {
  const auto batch = subject.batch(torch::kFloat64);
  const auto trainer = subject.make({.dtype = torch::kFloat64});
  const auto said = trainer->reads();
  if (!said) return not_applicable("the rule does not say what it reads");
  for (int step = 0; step < 3; ++step) trainer->step(subject.batch(torch::kFloat64));  // learned nets answer by now
  const auto credit = [&](Reads others) {
    at::manual_seed(5);
    return trainer->credit_with_other(batch, others);
  };
  const auto before = credit(Reads::Nothing);
  const bool deep = before.size() > (subject.about.embed ? 2 : 3);
  // What else makes a rule see a change: weights of other signs are other weights, and forward products go through both.
  const auto seen_by = [](Reads one) {
    if (one == Reads::Signs) return Reads::Signs | Reads::Weights | Reads::Forward;
    return one == Reads::Weights || one == Reads::Readout ? one | Reads::Forward : one;
  };
  for (const auto one : {Reads::Error, Reads::Target, Reads::Hidden, Reads::Readout, Reads::Weights, Reads::Signs}) {
    const bool reads = any_of(*said, seen_by(one)), sees = !same(credit(one), before);
    if (sees && !reads)
      return failed("the rule says that it reads " + text_of(*said) + ", but its credit changes with " + text_of(one));
    if (reads && !sees && deep)
      return failed("the rule says that it reads " + text_of(*said) + ", but its credit does not change with " +
                    text_of(one));
  }
  return held();
}

/// A source with reads_error_only gives the same factored credit where the Trace has nothing but error and target.
inline Verdict factored_credit_reads_error_and_target_alone(const Subject& subject) {
  const auto batch = subject.batch();
  const auto trainer = subject.make({});
  at::manual_seed(5);
  const auto whole = trainer->factored_credit(batch, /*only_error=*/false);
  try {
    at::manual_seed(5);
    const auto alone = translated([&] { return trainer->factored_credit(batch, /*only_error=*/true); });
    return same(whole, alone) ? held() : failed("without the rest of the Trace factored_credit gives another credit");
  } catch (const Error& error) {
    return failed("without the rest of the Trace factored_credit throws: " + std::string(error.what()));
  }
}

/// Such a source trains in constant memory as it does otherwise.
inline Verdict constant_memory_changes_no_gradient(const Subject& subject) {
  if (factored_credit_reads_error_and_target_alone(subject) != held())
    return not_applicable("factored_credit reads what constant memory does not have");
  const auto batch = subject.batch(torch::kFloat64);
  const auto gradients = [&](Memory memory) {
    const auto trainer = subject.make({.dtype = torch::kFloat64, .options = {.seed = 7, .memory = memory}});
    trainer->step(batch);
    return gradients_of(trainer->module());
  };

  const double apart = distance(gradients(Memory::Constant), gradients(Memory::Activations));
  return apart < 1e-12 ? held() : failed("a step's gradients are " + std::to_string(apart) + " from the others");
}

/// What a rule does in a process that has this block alone, or all blocks.
inline InBlock in_block(const Subject& subject, std::optional<std::size_t> block, bool let_learn) {
  const auto trainer = subject.make({.dtype = torch::kFloat64});
  at::manual_seed(5);
  return translated([&] { return trainer->in_block(subject.batch(torch::kFloat64), block, let_learn); });
}

/// A source with block_parallel gives the same credit for h_l where there is nothing but block l - 1 and its own output,
/// and none for states that are not there.
inline Verdict credit_needs_own_states_alone(const Subject& subject) {
  const auto whole = in_block(subject, {}, /*let_learn=*/false).credit;
  try {
    for (std::size_t l = 1; l < whole.size(); ++l) {
      const auto alone = in_block(subject, l - 1, /*let_learn=*/false).credit;
      const bool embed = l == 1 && subject.about.embed;
      if (!same({alone[l]}, {whole[l]}) || (embed && !same({alone[0]}, {whole[0]}))) {
        return failed("without the states of other blocks the credit for h_" + std::to_string(l) + " is another");
      }
      for (std::size_t other = 0; other < alone.size(); ++other) {
        if (!trained_in_block(other, l - 1) && alone[other].defined()) {
          return failed("there is credit for h_" + std::to_string(other) + ", which the Trace does not have");
        }
      }
    }
    return held();
  } catch (const Error& error) {
    return failed("without the states of other blocks credit throws: " + std::string(error.what()));
  }
}

/// Such a source learns there what it learns where all blocks are: what belongs to that block, and what is the same in all
/// processes.
inline Verdict learning_needs_own_states_alone(const Subject& subject) {
  const auto whole = in_block(subject, {}, /*let_learn=*/true);
  try {
    for (std::size_t block = 0; block + 1 < whole.credit.size(); ++block) {
      for (const auto& [name, tensor] : in_block(subject, block, /*let_learn=*/true).learned) {
        const std::string& own = name;
        const auto expected =
            std::ranges::find_if(whole.learned, [&](const auto& entry) { return entry.first == own; });
        if (expected == whole.learned.end() || !same({tensor}, {expected->second})) {
          return failed("without the states of other blocks block " + std::to_string(block) + " learns another " +
                        name);
        }
      }
    }
    return held();
  } catch (const Error& error) {
    return failed("without the states of other blocks learn throws: " + std::string(error.what()));
  }
}

}  // namespace creditlib::detail::laws
