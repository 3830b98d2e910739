// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/diagnostics/update_utility.hpp>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/flags.hpp"
#include "support/resume.hpp"
#include "support/workbench.hpp"

namespace sweep {

/// dfa, vec_eT_M4, oracle_bp.
const std::vector<std::string>& method_names();
constexpr std::int64_t vec_directions = 4;  ///< the M4 of vec_eT_M4

struct Settings {
  std::int64_t num_blocks = 4, d_hidden = 256, epochs = 0, estimator_epochs = 60, seed = 42, trials = 20;
  double lr_fb = 1e-3, lr = 1e-3, wd = 0.01;
  std::vector<std::int64_t> snapshot_epochs = {};
  std::vector<double> etas = creditlib::diagnostics::line_search_etas();
  std::vector<double> trial_etas{1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1};
  std::vector<std::string> methods = method_names();
  std::string output_dir = "results/snapshot_time", held_out = "test", credit_point = "input";
  bool retrain = false, script_scale = false;
  support::RunFlags run = {};

  support::Resume resume() const { return {.lists = {"snapshot_epochs", "methods"}, .retrain = retrain}; }
};

void declare(support::Flags& flags, Settings& s);

/// Fills in epochs and snapshot_epochs where a flag is left out. Throws UsageError for a snapshot past the end, and for
/// a snapshot or method named twice.
void settle(Settings& s);

/// What a snapshot depends on.
nlohmann::ordered_json snapshot_config(const Settings& s);

/// What the results depend on.
nlohmann::ordered_json config(const Settings& s);

}  // namespace sweep
