// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/flags.hpp"
#include "support/resume.hpp"
#include "support/workbench.hpp"

namespace audit {

struct Settings {
  std::string arch = "resmlp", method = "dfa", output_dir = "results/audit", from = {};
  std::vector<std::int64_t> seeds{42};
  std::int64_t epochs = 30, null_draws = 20, random_label_epochs = 0;
  double lr = 1e-3, wd = 0.01, clip = 0, penalty_lam = 0;
  bool no_controls = false, retrain = false;
  std::map<std::string, std::string> saved = {};  ///< what the file `from` says of the run that made it
  support::RunFlags run = {};

  support::Resume resume() const { return {.lists = {"seeds"}, .retrain = retrain}; }
  /// What the results file is called, without its ending.
  std::string name() const { return "audit_" + run.dataset + "_" + arch + "_" + method; }
};

void declare(support::Flags& flags, Settings& s);

nlohmann::ordered_json config(const Settings& s);

}  // namespace audit
