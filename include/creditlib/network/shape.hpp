// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/concepts.hpp>
#include <cstdint>
#include <vector>

/// Shapes of hidden states, as feedback matrices see them. A hidden state (d) has d features. One with positions has
/// its channels as features, the first dimension of (C, H, W) and the last of (N, d), and credit for it may hold one
/// value per channel.
namespace creditlib {

/// The number of elements of a hidden state of this shape (sizes without the batch).
inline std::int64_t elements(const std::vector<std::int64_t>& shape) {
  std::int64_t product = 1;
  for (const auto size : shape) product *= size;
  return product;
}

/// The number of features of a hidden state of this shape: d of (d), C of (C, H, W), d of (N, d).
inline std::int64_t features(const std::vector<std::int64_t>& shape) {
  if (shape.size() == 3) return shape[0];
  if (shape.size() == 2) return shape[1];
  return elements(shape);
}

/// Turns one value per feature, (B, features), into credit for a hidden state of this shape: (B, d), (B, C, 1, 1) or
/// (B, 1, d).
inline torch::Tensor spread(const torch::Tensor& a, const std::vector<std::int64_t>& shape) {
  if (shape.size() == 3) return a.unsqueeze(2).unsqueeze(3);
  if (shape.size() == 2) return a.unsqueeze(1);
  return a;
}

/// Sums credit for a hidden state, (B, d), (B, C, H, W) or (B, N, d), over its positions: (B, features).
inline torch::Tensor pooled(const torch::Tensor& a) {
  if (a.dim() == 4) return a.sum({2, 3});
  if (a.dim() == 3) return a.sum(1);
  return a;
}

/// The sizes of h_0..h_L for one sample.
template <BlockModel Model>
std::vector<std::vector<std::int64_t>> hidden_shapes(Model& model) {
  std::vector<std::vector<std::int64_t>> shapes;
  for (std::int64_t l = 0; l <= model->blocks(); ++l) shapes.push_back(model->hidden_shape(l));
  return shapes;
}

/// Whether the model has embed parameters, that is, whether credit at h_0 trains anything.
template <BlockModel Model>
bool has_embed(Model& model) {
  return !std::vector<torch::Tensor>(model->embed_parameters()).empty();
}

}  // namespace creditlib
