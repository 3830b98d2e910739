// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/network/shape.hpp>
#include <cstdint>
#include <optional>
#include <string>

namespace creditlib::detail {

/// What errors call the stages of a network, and how its layout is said.
struct StageNames {
  std::string embed = "embed", block = "block ", readout = "readout";
  std::string set_layout = "call set_layout(HiddenLayout::FeaturesFirst), or FeaturesLast, before the shapes are set";
  bool layout_is_found = false;                    ///< from the stages' layers: what was not found has to be said
  std::optional<HiddenLayout> logits_layout = {};  ///< as far as the readout's layers tell
};

/// Calls visit(name, run) for the embed, each block with its join, and the readout, in order; run(h) is what the stage
/// gives for h.
template <class Network, class Visit>
void for_each_stage(Network& network, const StageNames& names, const Visit& visit) {
  visit(names.embed, [&](const torch::Tensor& x) -> torch::Tensor { return network.embed(x); });
  for (std::int64_t l = 0; l < network.blocks(); ++l) {
    visit(names.block + std::to_string(l),
          [&](const torch::Tensor& h) -> torch::Tensor { return network.join(l, h, network.block(l, h)); });
  }
  visit(names.readout, [&](const torch::Tensor& h) -> torch::Tensor { return network.readout(h); });
}

}  // namespace creditlib::detail
