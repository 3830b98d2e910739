// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>

#include <cmath>
#include <creditlib/testing/detail/compare.hpp>
#include <creditlib/testing/detail/law.hpp>
#include <creditlib/testing/detail/snapshot.hpp>
#include <cstdint>
#include <string>

/// Laws of the credit that a rule gives.
namespace creditlib::detail::laws {

inline std::string credit_name(std::size_t l) { return "credit " + std::to_string(l); }

/// One credit a hidden state, detached, of the dtype and device of the model, with the shape of the block's output or
/// one that broadcasts to it; none for h_0 where the model has no embed.
inline Verdict credits_fit(const Subject& subject) {
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    const auto batch = subject.batch(dtype);
    const auto trainer = subject.make({.dtype = dtype});
    const auto outputs = trainer->separate_outputs(batch.x);

    for (const auto& credits : {trainer->credits(batch), trainer->raw_credits(batch)}) {
      if (credits.size() + 1 != outputs.size()) return failed("not one credit a hidden state");
      for (std::size_t l = 0; l < credits.size(); ++l) {
        const auto& a = credits[l];
        if (l == 0 && !subject.about.embed) {
          if (a.defined()) return failed("credit for an embed that is not there");
          continue;
        }
        if (!a.defined()) return failed("undefined " + credit_name(l));
        if (a.requires_grad() || a.grad_fn()) return failed("attached " + credit_name(l));
        if (a.scalar_type() != dtype || a.device() != outputs[l].device()) return failed("another dtype or device");
        if (a.dim() != outputs[l].dim() || a.size(0) != batch.x.size(0))
          return failed("another number of dimensions or samples");
        for (std::int64_t d = 1; d < a.dim(); ++d) {
          if (a.size(d) != outputs[l].size(d) && a.size(d) != 1) return failed("a shape that does not broadcast");
        }
      }
    }
  }
  return held();
}

/// No credit that the rule itself returns is on a graph. (A trainer would cut it off.)
inline Verdict credit_is_detached(const Subject& subject) {
  const auto trainer = subject.make({});
  const auto alone = trainer->alone(subject.batch());
  const torch::NoGradGuard no_grad;

  const auto credits = alone.credit();
  for (std::size_t l = 0; l < credits.size(); ++l) {
    if (credits[l].defined() && credits[l].requires_grad())
      return failed(credit_name(l) + " is attached: on a graph, which keeps memory and lets gradients cross blocks");
  }
  return held();
}

/// Credit is per sample: that of a sample is the same in a smaller batch.
inline Verdict credit_is_per_sample(const Subject& subject) {
  const auto batch = subject.batch(torch::kFloat64);
  const auto trainer = subject.make({.dtype = torch::kFloat64});

  const auto whole = trainer->raw_credits(batch);
  const auto part = trainer->raw_credits({batch.x.narrow(0, 2, 3), batch.y.narrow(0, 2, 3)});

  for (std::size_t l = 0; l < whole.size(); ++l) {
    if (!whole[l].defined()) continue;
    if (distance(whole[l].narrow(0, 2, 3), part[l]) > 1e-9)  // EP's is the difference of larger numbers
      return failed(credit_name(l) + " depends on the rest of the batch");
  }
  return held();
}

/// Credit is the same numbers whether grad mode is on or off.
inline Verdict grad_mode_changes_no_credit(const Subject& subject) {
  const auto batch = subject.batch(torch::kFloat64);
  const auto credit = [&](bool grad_mode) {
    const auto trainer = subject.make({.dtype = torch::kFloat64});
    at::manual_seed(5);
    const auto alone = trainer->alone(batch);
    const torch::AutoGradMode mode(grad_mode);
    return copies(alone.credit());
  };

  return distance(credit(true), credit(false)) < 1e-12 ? held() : failed("with grad mode on credit is another");
}

/// Credit leaves model and source as they were, without the trainer's care too.
inline Verdict credit_alone_changes_nothing(const Subject& subject) {
  const auto trainer = subject.make({});
  trainer->step(subject.batch());
  const auto alone = trainer->alone(subject.batch());
  const auto before = snapshot(*trainer);

  {
    const torch::NoGradGuard no_grad;
    alone.credit();
  }

  return held_if_none(difference(before, without_own_generators(snapshot(*trainer), before)));
}

/// The normalized credits are the raw ones, each sample's divided by its root mean square.
inline Verdict normalized_by_sample(const Subject& subject) {
  const auto batch = subject.batch(torch::kFloat64);
  const auto trainer = subject.make({.dtype = torch::kFloat64});

  at::manual_seed(5);
  const auto raw = trainer->raw_credits(batch);
  at::manual_seed(5);
  const auto normalized = trainer->credits(batch);

  for (std::size_t l = 0; l < raw.size(); ++l) {
    if (!raw[l].defined()) continue;
    for (std::int64_t b = 0; b < raw[l].size(0); ++b) {
      const auto a = raw[l][b];
      const double rms = a.norm().item<double>() / std::sqrt(static_cast<double>(a.numel()));
      if (distance(normalized[l][b] * (rms + 1e-6), a) > 1e-12)
        return failed(credit_name(l) + " of sample " + std::to_string(b) + " has another size");
    }
  }
  return held();
}

}  // namespace creditlib::detail::laws
