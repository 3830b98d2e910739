// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/checkpoint.hpp"
#include "support/flags.hpp"
#include "support/resume.hpp"

namespace toy_lq {

/// dfa, the learned sources, their forms that see the target, and ridge.
const std::vector<std::string>& method_names();

struct Settings {
  std::int64_t steps = 8000, d = 64, L = 12, outputs = 10, batch = 256, seed = 42, M = 4, eval_samples = 1024,
               ridge_samples = 4096;
  double noise = 0.03, target_deviation = 1, eta = 0.01, term_grad_weight = 0, lr_fb = 0;
  std::string dynamics = "orthogonal", output_dir = "results/toy_lq";
  std::vector<std::string> methods = method_names();
  std::string threads = "auto", tensorboard = {};
  support::CheckpointFlags checkpoints = {};
  bool retrain = false, quiet = false;

  support::Resume resume() const { return {.lists = {"methods"}, .retrain = retrain}; }
};

void declare(support::Flags& flags, Settings& s);

nlohmann::ordered_json config(const Settings& s);

}  // namespace toy_lq
