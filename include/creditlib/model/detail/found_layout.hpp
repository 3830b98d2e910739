// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/container/sequential.h>

#include <algorithm>
#include <array>
#include <creditlib/error.hpp>
#include <creditlib/model/recurrent.hpp>
#include <creditlib/network/shape.hpp>
#include <optional>
#include <string>
#include <string_view>

/// Which dimension LibTorch's layers take and give features in.
namespace creditlib::detail {

/// Whether a module is the layer of LibTorch whose class begins so: "Conv1d", or "Conv" for all convolutions.
inline bool is_layer(const torch::nn::Module& module, std::string_view beginning) {
  return module.name().rfind("torch::nn::" + std::string(beginning), 0) == 0;
}

template <std::size_t n>
bool is_one_of(const torch::nn::Module& module, const std::array<std::string_view, n>& beginnings) {
  return std::any_of(beginnings.begin(), beginnings.end(),
                     [&](std::string_view beginning) { return is_layer(module, beginning); });
}

/// The layout that a layer's class fixes for its input and output; nothing for layers that have none, or are unknown.
inline std::optional<HiddenLayout> layout_of_layer(const torch::nn::Module& module) {
  constexpr std::array<std::string_view, 20> first{
      "Conv",           "BatchNorm", "InstanceNorm", "GroupNorm",   "LocalResponseNorm",
      "MaxPool",        "MaxUnpool", "AvgPool",      "AdaptiveAvg", "AdaptiveMax",
      "FractionalMax",  "LPPool",    "PixelShuf",    "PixelUnshuf", "ReflectionPad",
      "ReplicationPad", "ZeroPad",   "ConstantPad",  "Upsample",    "Dropout2d"};
  constexpr std::array<std::string_view, 5> last{"Linear", "Bilinear", "LayerNorm", "Embedding", "Transformer"};
  if (is_one_of(module, first)) return HiddenLayout::FeaturesFirst;
  if (is_one_of(module, last) || module.as<RecurrentImpl>()) return HiddenLayout::FeaturesLast;
  return std::nullopt;
}

/// Whether a layer works on each element by itself, so that its output has its input's layout.
inline bool works_by_element(const torch::nn::Module& module) {
  constexpr std::array<std::string_view, 24> names{"IdentityImpl",
                                                   "DropoutImpl",
                                                   "AlphaDropout",
                                                   "ReLU",
                                                   "LeakyReLU",
                                                   "RReLU",
                                                   "CELU",
                                                   "ELU",
                                                   "SELU",
                                                   "GELU",
                                                   "SiLU",
                                                   "Mish",
                                                   "Tanh",
                                                   "Sigmoid",
                                                   "LogSigmoid",
                                                   "Hardtanh",
                                                   "Hardshrink",
                                                   "Softplus",
                                                   "Softshrink",
                                                   "Softsign",
                                                   "Threshold",
                                                   "PReLU",
                                                   "FeatureAlphaDropout",
                                                   "TanhshrinkImpl"};
  return is_one_of(module, names);
}

/// The layout of what a stage gives, from the last of its layers that fixes one; nothing if a layer after it is unknown.
inline std::optional<HiddenLayout> layout_after(const torch::nn::SequentialImpl& stage,
                                                std::optional<HiddenLayout> layout) {
  for (const auto& layer : stage.children()) {
    if (const auto* nested = layer->as<torch::nn::SequentialImpl>()) {
      layout = layout_after(*nested, layout);
    } else if (const auto fixed = layout_of_layer(*layer)) {
      layout = fixed;
    } else if (!works_by_element(*layer)) {
      layout.reset();
    }
  }
  return layout;
}

/// The layout of what a stage takes, if its first layer that fixes one comes after none that may change it.
inline std::optional<HiddenLayout> layout_before(const torch::nn::SequentialImpl& stage) {
  for (const auto& layer : stage.children()) {
    if (const auto* nested = layer->as<torch::nn::SequentialImpl>()) return layout_before(*nested);
    if (const auto fixed = layout_of_layer(*layer)) return fixed;
    if (!works_by_element(*layer)) return std::nullopt;
  }
  return std::nullopt;
}

/// Throws Error, beginning with `whose`, if layers in sequence, what `stage` names, have one among them that gives a
/// tuple.
inline void refuse_tuples(const torch::nn::SequentialImpl& layers, const std::string& whose, const std::string& stage) {
  for (const auto& layer : layers.children()) {
    if (const auto* nested = layer->as<torch::nn::SequentialImpl>()) refuse_tuples(*nested, whose, stage);
    const char* name = layer->as<torch::nn::LSTMImpl>()  ? "LSTM"
                       : layer->as<torch::nn::GRUImpl>() ? "GRU"
                       : layer->as<torch::nn::RNNImpl>() ? "RNN"
                                                         : nullptr;
    if (name == nullptr) continue;
    fail(whose, ": ", stage, " has a torch::nn::", name,
         " among its layers, which gives its output and its state, but the next layer takes one tensor; put it into "
         "the adapter creditlib::Recurrent(torch::nn::",
         name, "(...)).");
  }
}

/// Whether a network is, or has, a layer that takes (B, C, T).
inline bool has_one_dimensional_layers(const torch::nn::Module& module) {
  constexpr std::array<std::string_view, 6> names{"Conv1d",    "ConvTranspose1d", "InstanceNorm1d",
                                                  "MaxPool1d", "AvgPool1d",       "AdaptiveAvgPool1d"};
  const auto all = module.modules(/*include_self=*/false);
  return is_one_of(module, names) ||
         std::any_of(all.begin(), all.end(), [&](const auto& layer) { return is_one_of(*layer, names); });
}

}  // namespace creditlib::detail
