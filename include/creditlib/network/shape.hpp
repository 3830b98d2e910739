// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <concepts>
#include <creditlib/concepts.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <type_traits>
#include <vector>

/// Shapes of hidden states, as feedback matrices see them. A hidden state (d) has d features. One with positions has
/// features in one dimension and positions in the others, and credit for it may hold one value per feature. Shapes are
/// sizes without the batch.
namespace creditlib {

/// Which dimension of a hidden state with positions holds its features: the first after the batch, as in (B, C, T),
/// (B, C, H, W) and (B, C, D, H, W), or the last, as in (B, N, d).
enum class HiddenLayout { FeaturesFirst, FeaturesLast };

/// The layout that a shape has if nobody says otherwise: (N, d) has its features last, (C, H, W) and (C, D, H, W) first.
inline HiddenLayout usual_layout(const std::vector<std::int64_t>& shape) {
  return shape.size() > 2 ? HiddenLayout::FeaturesFirst : HiddenLayout::FeaturesLast;
}

/// The layout of h_l: what the model's `HiddenLayout hidden_layout(l)` says, if it has one, or the usual one.
template <BlockModel Model>
HiddenLayout hidden_layout(Model& model, std::int64_t l) {
  using Module = std::remove_reference_t<decltype(*model)>;
  if constexpr (requires {
                  { model->hidden_layout(l) } -> std::same_as<HiddenLayout>;
                }) {
    return model->hidden_layout(l);
  } else {
    static_assert(
        !requires { &Module::hidden_layout; },
        "creditlib: the model's hidden_layout is there but not callable as `creditlib::HiddenLayout "
        "hidden_layout(std::int64_t l) const`");
    return usual_layout(model->hidden_shape(l));
  }
}

/// The number of elements of a hidden state. Throws Error if the number of its positions differs between batches (-1).
inline std::int64_t elements(const std::vector<std::int64_t>& shape) {
  std::int64_t product = 1;
  for (const auto size : shape) {
    if (size < 0) {
      detail::fail(
          "The hidden state ", detail::shape_text(shape),
          " has positions whose number differs between batches (-1), and so no number of elements; use a rule that "
          "works by feature, such as DFA or FA.");
    }
    product *= size;
  }
  return product;
}

/// The number of features of a hidden state: d of (d) and (N, d), C of (C, T), (C, H, W) and (C, D, H, W).
inline std::int64_t features(const std::vector<std::int64_t>& shape, HiddenLayout layout) {
  if (shape.empty()) return 1;
  return layout == HiddenLayout::FeaturesFirst ? shape.front() : shape.back();
}
inline std::int64_t features(const std::vector<std::int64_t>& shape) { return features(shape, usual_layout(shape)); }
template <BlockModel Model>
std::int64_t features(Model& model, std::int64_t l) {
  return features(model->hidden_shape(l), hidden_layout(model, l));
}

/// Turns one value per feature, (B, features), into credit for a hidden state: (B, d), (B, 1, d), (B, C, 1),
/// (B, C, 1, 1) or (B, C, 1, 1, 1).
inline torch::Tensor spread(const torch::Tensor& a, const std::vector<std::int64_t>& shape, HiddenLayout layout) {
  auto sizes = std::vector<std::int64_t>(shape.size() + 1, 1);
  sizes.front() = a.size(0);
  (layout == HiddenLayout::FeaturesFirst ? sizes[1] : sizes.back()) = a.size(1);
  return shape.size() < 2 ? a : a.view(sizes);
}
inline torch::Tensor spread(const torch::Tensor& a, const std::vector<std::int64_t>& shape) {
  return spread(a, shape, usual_layout(shape));
}
template <BlockModel Model>
torch::Tensor spread(const torch::Tensor& a, Model& model, std::int64_t l) {
  return spread(a, model->hidden_shape(l), hidden_layout(model, l));
}

/// Sums credit for a hidden state, (B, ...) with all its positions, over them: (B, features).
inline torch::Tensor pooled(const torch::Tensor& a, HiddenLayout layout) {
  if (a.dim() <= 2) return a;
  return layout == HiddenLayout::FeaturesFirst ? a.flatten(2).sum(2) : a.flatten(1, -2).sum(1);
}
inline torch::Tensor pooled(const torch::Tensor& a) {
  return pooled(a, a.dim() > 3 ? HiddenLayout::FeaturesFirst : HiddenLayout::FeaturesLast);
}

/// The sizes of the logits for one sample: what the model's `std::vector<std::int64_t> logits_shape()` says, if it has
/// one: (C), (N, C), (C, H, W) or (C, D, H, W), -1 for a number of positions that differs between batches; or (classes()).
template <BlockModel Model>
std::vector<std::int64_t> logits_shape(Model& model) {
  using Module = std::remove_reference_t<decltype(*model)>;
  if constexpr (requires {
                  { model->logits_shape() } -> std::convertible_to<std::vector<std::int64_t>>;
                }) {
    return model->logits_shape();
  } else {
    static_assert(
        !requires { &Module::logits_shape; },
        "creditlib: the model's logits_shape is there but not callable as `std::vector<std::int64_t> "
        "logits_shape() const`");
    return {std::int64_t{model->classes()}};
  }
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

namespace detail {

/// The sizes of the positions of a batch, (B, ...), without batch and features.
inline std::vector<std::int64_t> position_sizes(torch::IntArrayRef sizes, HiddenLayout layout) {
  if (sizes.size() < 3) return {};
  return sizes.slice(layout == HiddenLayout::FeaturesFirst ? 2 : 1, sizes.size() - 2).vec();
}

/// One row per position, (B, positions, features).
inline torch::Tensor per_position(const torch::Tensor& a, HiddenLayout layout) {
  return layout == HiddenLayout::FeaturesFirst ? a.flatten(2).transpose(1, 2) : a.flatten(1, -2);
}

/// Back again, to a batch of hidden states of these sizes, except for the number of features.
inline torch::Tensor from_positions(const torch::Tensor& rows, torch::IntArrayRef sizes, HiddenLayout layout) {
  auto shape = sizes.vec();
  if (layout == HiddenLayout::FeaturesFirst) {
    shape[1] = rows.size(2);
    return rows.transpose(1, 2).reshape(shape);
  }
  shape.back() = rows.size(2);
  return rows.reshape(shape);
}

/// The layout of logits, (B, C), (B, N, C), (B, C, H, W) or (B, C, D, H, W).
inline HiddenLayout logits_layout(const torch::Tensor& logits) {
  return logits.dim() > 3 ? HiddenLayout::FeaturesFirst : HiddenLayout::FeaturesLast;
}

}  // namespace detail
}  // namespace creditlib
