// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/shape.hpp>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <vector>

/// Which dimension of logits with positions holds the classes: the last of (B, N, C), the first after the batch of
/// (B, C, H, W) and (B, C, D, H, W), which is what objectives take.
namespace creditlib::detail {

/// The layout of what the readout gives for h_L of an example, tried out: positions are the dimensions that grow with
/// those of h_L. Nothing if that does not tell.
template <class Network>
std::optional<HiddenLayout> tried_logits_layout(Network& network, const torch::Tensor& h, HiddenLayout layout) {
  std::vector<std::int64_t> twice(static_cast<std::size_t>(h.dim()), 2);
  twice.front() = 1;
  (layout == HiddenLayout::FeaturesFirst ? twice.at(1) : twice.back()) = 1;
  const torch::Tensor logits = network.readout(h);
  torch::Tensor more;
  try {
    more = network.readout(h.repeat(twice));
  } catch (const std::exception&) {
    return std::nullopt;  // a readout of so many positions alone
  }
  if (more.dim() != logits.dim()) return std::nullopt;
  const bool first = more.size(1) == logits.size(1), last = more.size(-1) == logits.size(-1);
  if (first == last) return std::nullopt;
  return first ? HiddenLayout::FeaturesFirst : HiddenLayout::FeaturesLast;
}

/// Throws Error, beginning with `whose`, if logits of this shape without the batch have their classes elsewhere.
inline void check_logits_layout(std::vector<std::int64_t> logits, std::optional<HiddenLayout> layout,
                                const std::string& whose) {
  if (logits.size() < 2 || !layout || *layout == usual_layout(logits)) return;
  const bool tokens = logits.size() == 2;
  logits.insert(logits.begin(), 1);
  fail(whose, ": the readout gives ", shape_text(logits), " with the classes in ",
       tokens ? "the first dimension after the batch, as a Conv1d does, but logits are (B, N, classes)"
              : "the last dimension, as a Linear does, but logits are (B, classes, H, W) or (B, classes, D, H, W)",
       "; move them in the readout, with z.", tokens ? "transpose(1, 2)" : "movedim(-1, 1)",
       " (in a torch::nn::Sequential behind the layer: torch::nn::Functional([](const torch::Tensor& z) { return z.",
       tokens ? "transpose(1, 2)" : "movedim(-1, 1)", "; })).");
}

}  // namespace creditlib::detail
