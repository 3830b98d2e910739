// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace creditlib::detail {

/// Whether these tensors, of one shape, lie one after another in one storage.
inline bool adjacent(const std::vector<torch::Tensor>& tensors) {
  const auto& first = tensors.front();
  auto offset = first.storage_offset();
  for (const auto& tensor : tensors) {
    if (!tensor.is_contiguous() || tensor.storage_offset() != offset || tensor.sizes() != first.sizes() ||
        tensor.scalar_type() != first.scalar_type() || !tensor.storage().is_alias_of(first.storage())) {
      return false;
    }
    offset += tensor.numel();
  }
  return true;
}

/// n tensors of one shape as one, (n, ...): a view, without work, if they are adjacent, otherwise a copy. There must be
/// one.
inline torch::Tensor stacked(const std::vector<torch::Tensor>& tensors) {
  const auto first = tensors.front().detach();
  if (tensors.size() == 1) return first.unsqueeze(0);
  if (!adjacent(tensors)) return at::stack(tensors);
  auto sizes = first.sizes().vec(), strides = first.strides().vec();
  sizes.insert(sizes.begin(), static_cast<std::int64_t>(tensors.size()));
  strides.insert(strides.begin(), first.numel());
  return first.as_strided(sizes, strides);
}

}  // namespace creditlib::detail
