// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>
#include <torch/version.h>

#include <array>
#include <charconv>
#include <creditlib/detail/describe.hpp>
#include <creditlib/distributed/detail/agreement.hpp>
#include <creditlib/error.hpp>
#include <creditlib/parameter_parts.hpp>
#include <creditlib/trainer_options.hpp>
#include <creditlib/version.hpp>
#include <cstddef>
#include <string>

namespace creditlib::detail {

/// The options of trainers, numbers with all their digits.
inline Facts facts_of(const TrainerOptions& options) {
  const auto text = [](double number) {
    std::array<char, 32> digits{};
    return std::string(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr);
  };
  const auto factors = options.lr_factors;
  return {
      {"the version of creditlib", CREDITLIB_VERSION},
      {"the version of LibTorch", TORCH_VERSION},
      {"TrainerOptions::lr", text(options.lr)},
      {"TrainerOptions::weight_decay", text(options.weight_decay)},
      {"TrainerOptions::clip_norm", options.clip_norm ? text(*options.clip_norm) : "none"},
      {"TrainerOptions::epochs", c10::str(options.epochs)},
      {"TrainerOptions::seed", c10::str(options.seed)},
      {"TrainerOptions::optimizer", c10::str(static_cast<int>(options.optimizer))},
      {"TrainerOptions::rate", c10::str(static_cast<int>(options.rate))},
      {"TrainerOptions::momentum", text(options.momentum)},
      {"TrainerOptions::clip_scope", c10::str(static_cast<int>(options.clip_scope))},
      {"TrainerOptions::path", c10::str(static_cast<int>(options.path))},
      {"TrainerOptions::memory", c10::str(static_cast<int>(options.memory))},
      {"TrainerOptions::precision", c10::str(static_cast<int>(options.precision))},
      {"TrainerOptions::draws", c10::str(static_cast<int>(options.draws))},
      {"TrainerOptions::lr_factors", text(factors.embed) + ", " + text(factors.blocks) + ", " + text(factors.readout)},
      {"TrainerOptions::decay_norms_and_biases", c10::str(options.decay_norms_and_biases)}};
}

/// What all ranks have alike: options, the kinds of the network's parameters and buffers, what is frozen. Throws Error for
/// a network that several processes cannot train.
template <class Model>
Facts facts_of(const TrainerOptions& options, const Model& model, const ParameterParts& parts) {
  const auto dtype = parts.all[0].scalar_type();
  if (dtype != torch::kFloat32 && dtype != torch::kFloat64) {
    fail("The model is ", dtype_text(dtype), ", but training in several processes (TrainerOptions::group) is for ",
         "float32 and float64.");
  }
  auto facts = facts_of(options);
  for (std::size_t i = 0; i < parts.all.size(); ++i) {
    const auto& parameter = parts.all[i];
    facts.emplace_back("parameter " + parts.names[i],
                       kind_text(parameter) + (parameter.requires_grad() ? "" : ", frozen"));
  }
  for (const auto& buffer : model->named_buffers()) {
    facts.emplace_back("buffer " + buffer.key(), kind_text(buffer.value()));
  }
  return facts;
}

}  // namespace creditlib::detail
