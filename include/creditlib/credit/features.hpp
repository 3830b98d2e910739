#pragma once

#include <torch/types.h>

#include <creditlib/concepts.hpp>
#include <cstdint>
#include <vector>

/// What feedback matrices act on. A hidden state (d) has d features; one with positions has its channels, (C, H, W)
/// first and (N, d) last, and credit for it may hold one value a channel.
namespace creditlib::detail {

using Shape = std::vector<std::int64_t>;

inline std::int64_t elements(const Shape& shape) {
  std::int64_t product = 1;
  for (const auto size : shape) product *= size;
  return product;
}

/// How many features a hidden state of this shape (without the batch) has.
inline std::int64_t features(const Shape& shape) {
  if (shape.size() == 3) return shape[0];
  if (shape.size() == 2) return shape[1];
  return elements(shape);
}

/// One value a feature, (B, features), as credit for a hidden state of this shape: (B, d), (B, C, 1, 1) or (B, 1, d).
inline torch::Tensor spread(const torch::Tensor& a, const Shape& shape) {
  if (shape.size() == 3) return a.unsqueeze(2).unsqueeze(3);
  if (shape.size() == 2) return a.unsqueeze(1);
  return a;
}

/// Credit for a hidden state, summed over its positions: (B, features).
inline torch::Tensor pooled(const torch::Tensor& a) {
  if (a.dim() == 4) return a.sum({2, 3});
  if (a.dim() == 3) return a.sum(1);
  return a;
}

/// The sizes of h_0..h_L for one sample.
template <BlockModel Model>
std::vector<Shape> hidden_shapes(Model& model) {
  std::vector<Shape> shapes;
  for (std::int64_t l = 0; l <= model->blocks(); ++l) shapes.push_back(model->hidden_shape(l));
  return shapes;
}

/// Whether there is anything for credit at h_0 to train.
template <BlockModel Model>
bool has_embed(Model& model) {
  return !std::vector<torch::Tensor>(model->embed_parameters()).empty();
}

}  // namespace creditlib::detail
