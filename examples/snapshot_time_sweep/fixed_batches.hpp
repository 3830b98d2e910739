// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/data/batches.hpp>
#include <vector>

#include "snapshot_time_sweep/settings.hpp"
#include "support/workbench.hpp"

namespace sweep {

/// The same batches for every snapshot and rule.
struct FixedBatches {
  using Batch = creditlib::data::Batch;

  Batch same, held;
  std::vector<Batch> rollout, across;               ///< the script's: five further steps, four other updates
  std::vector<Batch> trial, trial_held, trial_eta;  ///< of the update utility with intervals: none is used twice

  FixedBatches(const Settings& s, const support::Workbench& bench);
};

}  // namespace sweep
