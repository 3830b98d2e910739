// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/error.hpp>
#include <creditlib/testing/detail/law_trainer.hpp>
#include <creditlib/testing/report.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>

namespace creditlib::detail::laws {

/// What a trainer is made for.
struct Setting {
  torch::Dtype dtype = torch::kFloat32;
  TrainerOptions options = {.seed = 7};
  std::uint64_t weights_seed = 1;
  std::uint64_t global_seed = 2;  ///< torch's global generator, when the trainer is made
};

/// What laws need to know of a rule and a model to say whether they apply.
struct About {
  // The rule.
  bool draws = true, learns = false, true_gradient = false, per_sample = true, couples_samples = false;
  bool says_what_it_reads = false;
  bool reads_error_only = false;  ///< and is no Mix: constant memory takes one source alone
  bool block_parallel = false;    ///< blocks can be trained in different processes
  std::string refusal = {};       ///< what the rule says of the model that it cannot train; "" if it trains it
  // The model.
  bool embed = true, by_formula = false;
  bool mixes_samples = false;  ///< a sample's hidden states depend on the other samples of its batch
  bool draws_masks = false;    ///< a forward pass draws from torch's global generator, as Dropout does
};

/// A rule on a model.
struct Subject {
  /// A trainer of the rule, on a fresh model.
  std::function<std::unique_ptr<LawTrainer>(const Setting&)> make;
  std::function<Batch(torch::Dtype, std::int64_t size, std::uint64_t seed)> make_batch;
  About about;

  Batch batch(torch::Dtype dtype = torch::kFloat32, std::int64_t size = 7, std::uint64_t seed = 11) const {
    return make_batch(dtype, size, seed);
  }
};

/// One law. `ask` says whether it holds; what it does not apply to is said by `exempt`.
struct Law {
  std::string name;
  Verdict (*ask)(const Subject&);
  /// Why the law does not apply to a rule and a model that it trains; "" if it does.
  std::string (*exempt)(const About&) = [](const About&) { return std::string(); };

  /// Why the law does not apply; "" if it does.
  std::string exemption(const About& about) const {
    return about.refusal.empty() ? exempt(about) : "the rule refuses the model";
  }
  Verdict of(const Subject& subject) const {
    const auto reason = exemption(subject.about);
    if (!reason.empty()) return not_applicable(reason);
    try {
      return translated([&] { return ask(subject); });
    } catch (const std::exception& error) {
      return failed(std::string("an exception: ") + error.what());
    }
  }
};

}  // namespace creditlib::detail::laws
