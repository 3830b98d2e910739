// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/credit/equilibrium_propagation.hpp>
#include <nlohmann/json.hpp>

namespace support {

/// Equilibrium propagation as cnn_baseline's flags say it, by their names in the config of its results and weights.
inline creditlib::EquilibriumPropagation settling(const nlohmann::ordered_json& config) {
  const bool script = config.at("ep_inner") == "mean";
  return {.beta = config.at("beta"),
          .steps = config.at("T_nudge"),
          .rate = config.at("alpha_nudge"),
          .centered = config.at("ep_centred"),
          .inner_mean = script,
          .outer_sum = script};
}

}  // namespace support
