// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <variant>
#include <vector>

/// Networks as lists of layers whose gradients are known in closed form, so that a step needs no autograd graph.
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

/// x times the normal distribution function of x: the exact form, not the tanh approximation.
struct GELU {};
struct ReLU {};
struct Tanh {};

using Layer = std::variant<Linear, LayerNorm, GELU, ReLU, Tanh>;

/// A sequence of layers, from (B, in) to (B, out).
using Stage = std::vector<Layer>;

/// A network in blocks: h_0 = embed(x), f_l = blocks[l](h_l), h_{l+1} = f_l or, residual, h_l + f_l, logits =
/// readout(h_L). Its tensors are the module's own parameters. If the embed is empty, h_0 is x. x is (B, in) or, if it
/// is flattened first, of any shape with `in` numbers per sample.
struct Network {
  Stage embed;
  std::vector<Stage> blocks;
  Stage readout;
  bool residual = false;
  bool flatten = false;
};

}  // namespace creditlib::closed_form
