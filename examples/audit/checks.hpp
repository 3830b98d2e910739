// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/audit/check.hpp>
#include <creditlib/data/batches.hpp>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "support/trainer.hpp"
#include "support/workbench.hpp"

namespace audit {

/// The data that every look uses: the first test samples, and disjoint batches of the test set.
struct Looks {
  creditlib::data::Batch batch;
  std::vector<creditlib::data::Batch> disjoint;
};

Looks looks_of(const support::Workbench& bench, bool flat);

/// Norms of the hidden states, in eval mode.
std::vector<creditlib::diagnostics::Measured> hidden_norms(support::Trainer& trainer, const Looks& looks);

/// D1, D2 and stability, as published and as they should be, in eval mode.
std::vector<creditlib::audit::Check> checks_of(support::Trainer& trainer, const Looks& looks,
                                               const std::vector<creditlib::diagnostics::Measured>& norms_at_init);

/// Gamma of the rule at each block's output, beside what fresh feedback would give.
nlohmann::ordered_json fresh_feedback(support::Trainer& trainer, const creditlib::data::Batch& batch,
                                      std::int64_t draws);

nlohmann::ordered_json json_of(const creditlib::audit::Check& check);
nlohmann::ordered_json json_of(const creditlib::diagnostics::Estimate& estimate);
creditlib::audit::Check check_of(const nlohmann::ordered_json& json);

}  // namespace audit
