// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/model/residual_mlp.hpp>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "snapshot_time_sweep/fixed_batches.hpp"
#include "snapshot_time_sweep/settings.hpp"
#include "support/trainer.hpp"
#include "support/workbench.hpp"

/// What a rule's updates of one snapshot do.
namespace sweep {

/// The rule on a snapshot's network, with raw credit.
support::Trainer make_trainer(const Settings& s, const std::string& method, std::int64_t epoch,
                              const creditlib::ResidualMLP& model);

/// Trains the vector net on the snapshot's features; the network stays.
void learn(const Settings& s, support::Trainer& trainer, std::int64_t epoch, const support::Workbench& bench);

/// The entry of the results file: updates of the last block and the readout, and of the last block alone, and figures
/// of the credit itself.
nlohmann::ordered_json measured(const Settings& s, const std::string& method, std::int64_t epoch, double accuracy,
                                creditlib::ResidualMLP& model, support::Trainer& trainer, const FixedBatches& fixed);

}  // namespace sweep
