#pragma once

#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <creditlib/closed_form/network.hpp>
#include <optional>

namespace creditlib::closed_form {

inline Linear layer_of(const torch::nn::LinearImpl& module) { return {module.weight, module.bias}; }
inline LayerNorm layer_of(const torch::nn::LayerNormImpl& module) {
  return {module.weight, module.bias, module.options.eps()};
}

/// The layer that a module is, where it has a closed form: Linear, LayerNorm over one dimension, GELU (exact), ReLU
/// (not in place), Tanh. std::nullopt for all others.
inline std::optional<Layer> layer_of(const torch::nn::Module& module) {
  if (const auto* linear = module.as<torch::nn::LinearImpl>()) return layer_of(*linear);
  if (const auto* norm = module.as<torch::nn::LayerNormImpl>()) {
    if (norm->options.normalized_shape().size() == 1) return layer_of(*norm);
  }
  if (const auto* gelu = module.as<torch::nn::GELUImpl>()) {
    if (gelu->options.approximate() == "none") return GELU{};
  }
  if (const auto* relu = module.as<torch::nn::ReLUImpl>()) {
    if (!relu->options.inplace()) return ReLU{};
  }
  if (module.as<torch::nn::TanhImpl>()) return Tanh{};
  return std::nullopt;
}

/// Whether a Sequential begins by flattening all but the batch.
inline bool flattens_first(const torch::nn::SequentialImpl& modules) {
  const auto* flatten = modules.is_empty() ? nullptr : modules.ptr(0)->as<torch::nn::FlattenImpl>();
  return flatten != nullptr && flatten->options.start_dim() == 1 && flatten->options.end_dim() == -1;
}

/// The stage that a torch::nn::Sequential is from its layer `first` on, where all of these have a closed form.
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
