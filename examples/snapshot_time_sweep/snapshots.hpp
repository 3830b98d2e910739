// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/model/residual_mlp.hpp>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "snapshot_time_sweep/settings.hpp"
#include "support/workbench.hpp"

namespace sweep {

/// The snapshots of one run of back-propagation, in files that say the settings of that run.
class Snapshots {
 public:
  /// Throws Error for a file of other settings.
  explicit Snapshots(const Settings& s);

  /// Trains where there are some missing, and writes those.
  void make(const support::Workbench& bench) const;

  /// The network of a snapshot, in eval mode; all but its last block and its readout are frozen.
  creditlib::ResidualMLP load(std::int64_t epoch, const support::Workbench& bench) const;

 private:
  std::filesystem::path path(std::int64_t epoch) const;
  void check_settings(const std::filesystem::path& file) const;

  const Settings& s_;
  std::filesystem::path folder_;
  std::vector<std::int64_t> missing_;
};

}  // namespace sweep
