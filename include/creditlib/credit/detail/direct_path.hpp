// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/concepts.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/trace.hpp>
#include <cstdint>
#include <vector>

/// How direct feedback goes with positions: what a matrix B_l, (rows, C), maps from the logits to a hidden state.
namespace creditlib::detail {

/// A tensor in the logits' shape as rows: summed over positions, and one per position.
struct OutputRows {
  explicit OutputRows(const torch::Tensor& outputs) {
    const auto layout = logits_layout(outputs);
    positions = position_sizes(outputs.sizes(), layout);
    pooled = creditlib::pooled(outputs, layout);
    if (!positions.empty()) by_position = per_position(outputs, layout);
  }

  std::vector<std::int64_t> positions;  ///< the sizes of the positions; empty if there are none
  torch::Tensor pooled;                 ///< (B, C)
  torch::Tensor by_position;            ///< (B, N, C); undefined if there are none
};

/// The way between the logits and h_l: from each position to the same position of h_l, if both have the same ones, else
/// from the sum over positions to all of them. A matrix of one row per element, not per feature, tells positions apart.
class DirectPath {
 public:
  template <BlockModel Model>
  DirectPath(Model& model, const Trace& trace, std::size_t l, const torch::Tensor& feedback, const OutputRows& outputs)
      : sizes_(trace.hidden[l].sizes().vec()), layout_(hidden_layout(model, static_cast<std::int64_t>(l))) {
    const std::vector<std::int64_t> shape(sizes_.begin() + 1, sizes_.end());
    if (feedback.size(0) != features(shape, layout_)) {
      way_ = Way::Element;
    } else if (!outputs.positions.empty() && position_sizes(sizes_, layout_) == outputs.positions) {
      way_ = Way::Position;
    }
  }

  /// What B_l^T is applied to: (B, C) or (B, N, C).
  const torch::Tensor& rows(const OutputRows& outputs) const {
    return way_ == Way::Position ? outputs.by_position : outputs.pooled;
  }

  /// The rows that come of it, (B, rows of B_l) or (B, N, rows of B_l), as credit for h_l.
  torch::Tensor credit(const torch::Tensor& rows) const {
    switch (way_) {
      case Way::Element: return rows.view(sizes_);
      case Way::Position: return from_positions(rows, sizes_, layout_);
      case Way::Feature: break;
    }
    return spread(rows, {sizes_.begin() + 1, sizes_.end()}, layout_);
  }

  /// The other way: a tensor h of h_l's shape as rows, so that <credit(rows), h> = <rows, hidden_rows(h)>.
  torch::Tensor hidden_rows(const torch::Tensor& h) const {
    switch (way_) {
      case Way::Element: return h.flatten(1);
      case Way::Position: return per_position(h, layout_);
      case Way::Feature: break;
    }
    return pooled(h, layout_);
  }

  /// The sum over samples, and positions, of h times outputs, in the shape of B_l: the gradient of a layer of weights
  /// B_l^T that leads straight from h_l to the logits, if `outputs` is the gradient there.
  torch::Tensor weight_gradient(const torch::Tensor& h, const OutputRows& outputs) const {
    return hidden_rows(h).flatten(0, -2).t().mm(rows(outputs).flatten(0, -2));
  }

 private:
  enum class Way { Feature, Position, Element };

  std::vector<std::int64_t> sizes_;
  HiddenLayout layout_;
  Way way_ = Way::Feature;
};

}  // namespace creditlib::detail
