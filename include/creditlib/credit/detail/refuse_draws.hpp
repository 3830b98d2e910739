// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/pooling.h>
#include <torch/nn/modules/rnn.h>

#include <creditlib/error.hpp>
#include <string>

namespace creditlib::detail {

/// A layer that draws random numbers in train mode, and what to do about it; nothing is said of one that draws none.
struct DrawingLayer {
  std::string layer, cure;
};

/// Of LibTorch's own layers; TransformerEncoderLayer and the like hold them as submodules.
inline DrawingLayer drawing_layer(torch::nn::Module& module) {
  DrawingLayer found;
  const auto with = [&](const char* layer, const char* option, double p) {
    if (p == 0) return;
    found = {c10::str(layer, " with ", option, " = ", p), c10::str("leave the layer out or set its ", option, " to 0")};
  };
  const auto recurrent = [&](const char* layer, const auto& options) {
    if (options.num_layers() > 1) with(layer, "dropout", options.dropout());  // drawn between layers
  };
  const auto fractional = [&](const char* layer, const torch::Tensor& samples) {
    if (!samples.defined()) found = {c10::str(layer, " without _random_samples"), "give it some, or use MaxPool"};
  };
  using namespace torch::nn;
  if (const auto* layer = module.as<DropoutImpl>()) with("Dropout", "p", layer->options.p());
  if (const auto* layer = module.as<Dropout2dImpl>()) with("Dropout2d", "p", layer->options.p());
  if (const auto* layer = module.as<Dropout3dImpl>()) with("Dropout3d", "p", layer->options.p());
  if (const auto* layer = module.as<AlphaDropoutImpl>()) with("AlphaDropout", "p", layer->options.p());
  if (const auto* layer = module.as<FeatureAlphaDropoutImpl>()) with("FeatureAlphaDropout", "p", layer->options.p());
  if (const auto* layer = module.as<MultiheadAttentionImpl>()) {
    with("MultiheadAttention", "dropout", layer->options.dropout());
  }
  if (const auto* layer = module.as<RNNImpl>()) recurrent("RNN", layer->options);
  if (const auto* layer = module.as<LSTMImpl>()) recurrent("LSTM", layer->options);
  if (const auto* layer = module.as<GRUImpl>()) recurrent("GRU", layer->options);
  if (const auto* layer = module.as<RReLUImpl>(); layer && layer->options.lower() != layer->options.upper()) {
    found = {c10::str("RReLU with slopes from ", layer->options.lower(), " to ", layer->options.upper()),
             "set lower and upper to one number, or use LeakyReLU"};
  }
  if (const auto* layer = module.as<FractionalMaxPool2dImpl>()) {
    fractional("FractionalMaxPool2d", layer->_random_samples);
  }
  if (const auto* layer = module.as<FractionalMaxPool3dImpl>()) {
    fractional("FractionalMaxPool3d", layer->_random_samples);
  }
  return found;
}

/// Throws Error, naming the layer, if a layer of LibTorch's draws random numbers in train mode; `so` says what that does
/// to the rule.
inline void refuse_draws(const std::string& rule, torch::nn::Module& model, const std::string& so) {
  for (const auto& entry : model.named_modules(/*name_prefix=*/{}, /*include_self=*/true)) {
    const auto [layer, cure] = drawing_layer(*entry.value());
    if (layer.empty()) continue;
    fail(rule, ": ", entry.key().empty() ? "the module" : entry.key(), " is ", layer, ", so that ", so, "; ", cure,
         ".");
  }
}

}  // namespace creditlib::detail
