// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <string>

/// Where logits hold their classes: (B, C), (B, N, C), (B, C, H, W), (B, C, D, H, W).
namespace creditlib::detail {

inline std::int64_t class_dimension(std::int64_t dimensions) { return dimensions == 3 ? 2 : 1; }

/// The same numbers with the classes in the last dimension.
inline torch::Tensor classes_last(const torch::Tensor& logits) {
  return logits.dim() > 3 ? logits.movedim(1, -1) : logits;
}
/// Back again, for logits of so many dimensions.
inline torch::Tensor from_classes_last(const torch::Tensor& t, std::int64_t dimensions) {
  return dimensions > 3 ? t.movedim(-1, 1).contiguous() : t;
}

/// The number of positions of logits of these sizes: 1 for (B, C), N for (B, N, C), H*W for (B, C, H, W).
inline std::int64_t output_positions(torch::IntArrayRef sizes) {
  std::int64_t product = 1;
  for (std::size_t i = 1; i < sizes.size(); ++i) product *= sizes[i];
  return product / sizes[static_cast<std::size_t>(class_dimension(static_cast<std::int64_t>(sizes.size())))];
}

/// Throws Error, prefixed with the objective's name, unless target has the logits' shape, dtype and device.
inline void check_same_as_outputs(const std::string& objective, const torch::Tensor& logits,
                                  const torch::Tensor& target) {
  if (!target.defined() || target.sizes() != logits.sizes() || target.scalar_type() != logits.scalar_type() ||
      target.device() != logits.device()) {
    fail(objective, ": the target is ", tensor_text(target), ", expected ", tensor_text(logits), ".");
  }
}

}  // namespace creditlib::detail
