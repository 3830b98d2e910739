// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/output_positions.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/detail/run_block.hpp>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <vector>

/// What is known of a batch's logits before the forward pass.
namespace creditlib::detail {

/// The sizes of the logits of the batch (x, y) if one sample's have this shape. A number of positions that differs
/// between batches (-1) is what y says, or x if y has no positions; whether that is right, the logits show.
inline std::vector<std::int64_t> expected_logits(std::vector<std::int64_t> shape, const torch::Tensor& x,
                                                 const torch::Tensor& y) {
  shape.insert(shape.begin(), x.size(0));
  const auto dimensions = static_cast<std::int64_t>(shape.size());
  const auto& says = y.dim() + 1 < dimensions ? x : y;
  for (std::int64_t d = 1; d < dimensions; ++d) {
    auto& size = shape[static_cast<std::size_t>(d)];
    const auto at = dimensions == 3 || says.dim() >= dimensions ? d : d - 1;
    if (size < 0) size = at < says.dim() ? says.size(at) : 1;
  }
  return shape;
}

/// Whether the objective takes class labels, int64, with logits of this shape for one sample.
template <class Objective>
bool takes_labels(const Objective& objective, std::vector<std::int64_t> shape, torch::Dtype dtype) {
  for (auto& size : shape) size = size < 0 ? 1 : size;
  shape.insert(shape.begin(), 1);
  auto labels = shape;
  labels.erase(labels.begin() + class_dimension(static_cast<std::int64_t>(shape.size())));
  try {
    objective.check(torch::zeros(shape, dtype), torch::zeros(labels, torch::kInt64));
  } catch (const std::exception&) {
    return false;
  }
  return true;
}

/// The objective's check of the target. If the model's logits have positions, always as many, and the target another
/// number of them, the error says what a model needs for that.
template <class Objective>
void check_expected(const Objective& objective, const torch::Tensor& logits, const torch::Tensor& y,
                    const std::vector<std::int64_t>& shape) {
  try {
    objective.check(logits, y);
  } catch (const Error& error) {
    const auto positions = logits.numel() / logits.size(class_dimension(logits.dim()));
    const bool fixed = shape.size() > 1 && std::find(shape.begin(), shape.end(), -1) == shape.end();
    const bool has_positions = y.dim() + 1 >= logits.dim();
    if (!fixed || !has_positions || y.numel() == positions || y.numel() == logits.numel()) throw;
    fail(error.what(), " The model gives logits of ", shape_text(shape),
         " per sample, as for the example that it was made with. If x has another number of positions, ",
         any_positions_cure, ".");
  }
}

}  // namespace creditlib::detail
