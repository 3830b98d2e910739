// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <creditlib/closed_form/network.hpp>
#include <creditlib/concepts.hpp>
#include <cstdint>
#include <optional>
#include <utility>
#include <variant>

namespace creditlib {

/// A BlockModel that can describe its layers.
///
/// `closed_form()` gives the network that embed, block, join and readout compute, in train and in eval mode alike, with
/// all hidden states (B, d); or std::nullopt if it has other layers, so that autograd is used.
template <class M>
concept ClosedFormModel = BlockModel<M> && requires(M& model) {
  { model->closed_form() } -> std::same_as<std::optional<closed_form::Network>>;
};

namespace closed_form {

/// The number of inputs per sample, from the first linear layer. Unknown if the first stage has none, or if the readout
/// is the only stage.
inline std::optional<std::int64_t> inputs(const Network& network) {
  if (network.embed.empty() && network.blocks.empty()) return std::nullopt;
  const auto& first = network.embed.empty() ? network.blocks.front() : network.embed;
  for (const auto& layer : first) {
    if (const auto* linear = std::get_if<Linear>(&layer)) return linear->weight.size(1);
  }
  return std::nullopt;
}

/// The model's layers, if it has a closed form with a linear layer in its first stage.
template <BlockModel Model>
std::optional<Network> of(Model& model) {
  if constexpr (ClosedFormModel<Model>) {
    auto network = model->closed_form();
    return network && inputs(*network) ? std::move(network) : std::nullopt;
  } else {
    return std::nullopt;
  }
}

}  // namespace closed_form
}  // namespace creditlib
