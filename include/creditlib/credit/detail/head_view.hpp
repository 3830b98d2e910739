// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/credit/head_input.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/shape.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// A hidden state in the form in which a head has its features first, (B, features, positions...).
inline torch::Tensor features_first(const torch::Tensor& h, HiddenLayout layout) {
  return layout == HiddenLayout::FeaturesLast && h.dim() > 2 ? h.movedim(-1, 1) : h;
}

/// The sizes of the positions of a sample; those of (d) are none.
inline std::vector<std::int64_t> positions_of(std::vector<std::int64_t> shape, HiddenLayout layout) {
  if (!shape.empty()) shape.erase(layout == HiddenLayout::FeaturesFirst ? shape.begin() : shape.end() - 1);
  return shape;
}

/// Throws Error, which names the rule, if logits have positions and the hidden state has others.
inline void check_positions_of_logits(const std::string& rule, const HeadInput& input) {
  if (!input.per_position()) return;
  if (positions_of(input.shape, input.layout) == positions_of(input.logits, usual_layout(input.logits))) return;
  fail(rule, ": the logits ", shape_text(input.logits), " have a class per position, and h_", input.l, " ",
       shape_text(input.shape),
       " has other positions; a head of your own for LocalHeads can bring them to those of the logits.");
}

/// The grid to which positions are averaged so that a sample has at most so many numbers: sizes are halved in turn. It
/// is one cell if their number differs between batches.
inline std::vector<std::int64_t> grid_within(const HeadInput& input, std::int64_t most) {
  auto grid = positions_of(input.shape, input.layout);
  if (std::ranges::find(grid, -1) != grid.end()) std::ranges::fill(grid, 1);
  const auto numbers = [&] {
    auto product = input.features();
    for (const auto size : grid) product *= size;
    return product;
  };
  for (std::size_t i = 0; numbers() > most && std::ranges::any_of(grid, [](auto size) { return size > 1; }); ++i) {
    auto& size = grid[i % grid.size()];
    size = (size + 1) / 2;
  }
  return grid;
}

/// A hidden state as the rows of a linear layer with an output per class, and that layer's output as logits.
///
/// - Logits with positions, at a hidden state with the same positions: one row per position, (B, N, features).
/// - Other logits: one row per sample, (B, features * cells), the features averaged over the cells of a grid.
/// - Throws Error, which names the rule, if logits have other positions than the hidden state.
class HeadView {
 public:
  HeadView(const std::string& rule, const HeadInput& input, std::vector<std::int64_t> grid)
      : layout_(input.layout),
        per_position_(input.per_position()),
        classes_first_(per_position_ && usual_layout(input.logits) == HiddenLayout::FeaturesFirst),
        width_(input.features()),
        grid_(std::move(grid)) {
    check_positions_of_logits(rule, input);
    if (per_position_) return;
    for (const auto size : grid_) width_ *= size;
  }

  /// Numbers in a row.
  std::int64_t width() const { return width_; }

  torch::Tensor rows(const torch::Tensor& h) const {
    if (per_position_) return detail::per_position(h, layout_);
    auto map = features_first(h, layout_);
    if (!grid_.empty() && map.sizes().slice(2) != torch::IntArrayRef(grid_)) map = averaged(map);
    return map.reshape({h.size(0), width_});
  }

  /// Logits from one number per class in each row of rows(h).
  torch::Tensor logits(const torch::Tensor& scores, const torch::Tensor& h) const {
    if (!classes_first_) return scores;
    auto sizes = position_sizes(h.sizes(), layout_);
    sizes.insert(sizes.begin(), {scores.size(0), scores.size(2)});
    return scores.transpose(1, 2).reshape(sizes);
  }

 private:
  torch::Tensor averaged(const torch::Tensor& map) const {
    switch (grid_.size()) {
      case 1: return at::adaptive_avg_pool1d(map, grid_);
      case 2: return at::adaptive_avg_pool2d(map, grid_);
      case 3: return at::adaptive_avg_pool3d(map, grid_);
      default: fail("A head cannot average over ", grid_.size(), " dimensions of positions, only over 1 to 3.");
    }
  }

  HiddenLayout layout_;
  bool per_position_, classes_first_;
  std::int64_t width_;
  std::vector<std::int64_t> grid_;
};

}  // namespace creditlib::detail
