// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "audit/settings.hpp"
#include "support/workbench.hpp"

/// What an audit trains, each from a seed, as the results file has it: {"seed": 42, "test_acc": .31, …}.
namespace audit {

/// The run to audit, with its checks epoch by epoch; or saved weights as they are.
nlohmann::ordered_json audited_run(const Settings& s, const support::Workbench& bench, std::int64_t seed);

/// A control with the same settings: frozen, frozen_bp, shallow.
nlohmann::ordered_json control_run(const Settings& s, const support::Workbench& bench, const std::string& control,
                                   std::int64_t seed);

/// The rule on labels drawn anew for every batch: what it does to the network when there is nothing to learn.
nlohmann::ordered_json random_label_run(const Settings& s, const support::Workbench& bench, std::int64_t seed);

}  // namespace audit
