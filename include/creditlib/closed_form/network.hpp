#pragma once

#include <torch/types.h>

#include <concepts>
#include <creditlib/concepts.hpp>
#include <cstdint>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

/// Networks as lists of layers whose gradients trainers have in closed form, so that a step needs no autograd graph.
namespace creditlib::closed_form {

/// y = x W^T + b; weight (out, in), bias (out) or undefined.
struct Linear {
  torch::Tensor weight, bias = {};
};

/// y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias over a sample's features; weight and bias are both (d) or
/// both undefined.
struct LayerNorm {
  torch::Tensor weight = {}, bias = {};
  double eps = 1e-5;
};

/// x times the normal distribution function of x: the exact form, not that with tanh.
struct GELU {};
struct ReLU {};
struct Tanh {};

using Layer = std::variant<Linear, LayerNorm, GELU, ReLU, Tanh>;

/// Layers one after the other, from (B, in) to (B, out).
using Stage = std::vector<Layer>;

/// A network in blocks: h_0 = embed(x), f_l = blocks[l](h_l), h_{l+1} = f_l or, residual, h_l + f_l, logits =
/// readout(h_L). Its tensors are the module's own parameters. Where the embed is empty, h_0 is x. x is (B, in) or,
/// where it is flattened first, of any shape with `in` numbers a sample.
struct Network {
  Stage embed;
  std::vector<Stage> blocks;
  Stage readout;
  bool residual = false;
  bool flatten = false;
};

}  // namespace creditlib::closed_form

namespace creditlib {

/// A BlockModel that can say what layers it is made of.
///
/// Meaning: `closed_form()` gives the network that embed, block, join and readout compute, in train and in eval mode
/// alike, with all hidden states (B, d); or std::nullopt where it has other layers, and autograd is used.
template <class M>
concept ClosedFormModel = BlockModel<M> && requires(M& model) {
  { model->closed_form() } -> std::same_as<std::optional<closed_form::Network>>;
};

namespace closed_form {

/// How many numbers a sample the network takes: its first linear layer's. Where its first stage has none, or it has no
/// stage but the readout, nothing says it.
inline std::optional<std::int64_t> inputs(const Network& network) {
  if (network.embed.empty() && network.blocks.empty()) return std::nullopt;
  const auto& first = network.embed.empty() ? network.blocks.front() : network.embed;
  for (const auto& layer : first) {
    if (const auto* linear = std::get_if<Linear>(&layer)) return linear->weight.size(1);
  }
  return std::nullopt;
}

/// The model's layers, where it has a closed form with a linear layer in its first stage.
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
