// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <creditlib/closed_form/network.hpp>
#include <optional>
#include <typeinfo>

namespace creditlib::closed_form {

/// The module as this class; null if it is of another class, including subclasses, whose functions may differ.
template <class Class>
const Class* exactly(const torch::nn::Module& module) {
  return typeid(module) == typeid(Class) ? module.as<Class>() : nullptr;
}

inline Linear layer_of(const torch::nn::LinearImpl& module) { return {module.weight, module.bias}; }
inline LayerNorm layer_of(const torch::nn::LayerNormImpl& module) {
  return {module.weight, module.bias, module.options.eps()};
}

/// A module's layer if it has a closed form: Linear, LayerNorm over one dimension, GELU (exact), ReLU (not in place),
/// Tanh. std::nullopt for all others, including subclasses of these.
inline std::optional<Layer> layer_of(const torch::nn::Module& module) {
  if (const auto* linear = exactly<torch::nn::LinearImpl>(module)) return layer_of(*linear);
  if (const auto* norm = exactly<torch::nn::LayerNormImpl>(module)) {
    if (norm->options.normalized_shape().size() == 1) return layer_of(*norm);
  }
  if (const auto* gelu = exactly<torch::nn::GELUImpl>(module)) {
    if (gelu->options.approximate() == "none") return GELU{};
  }
  if (const auto* relu = exactly<torch::nn::ReLUImpl>(module)) {
    if (!relu->options.inplace()) return ReLU{};
  }
  if (exactly<torch::nn::TanhImpl>(module)) return Tanh{};
  return std::nullopt;
}

/// Whether a Sequential begins by flattening all dimensions except the batch.
inline bool flattens_first(const torch::nn::SequentialImpl& modules) {
  const auto* flatten = modules.is_empty() ? nullptr : exactly<torch::nn::FlattenImpl>(*modules.ptr(0));
  return flatten != nullptr && flatten->options.start_dim() == 1 && flatten->options.end_dim() == -1;
}

/// The stage of a torch::nn::Sequential from its layer `first` on, if all of these layers have a closed form.
inline std::optional<Stage> stage_of(const torch::nn::SequentialImpl& modules, std::size_t first = 0) {
  Stage stage;
  for (std::size_t i = first; i < modules.size(); ++i) {
    const auto layer = layer_of(*modules.ptr(i));
    if (!layer) return std::nullopt;
    stage.push_back(*layer);
  }
  return stage;
}

}  // namespace creditlib::closed_form
