// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/dropout.h>

#include <creditlib/error.hpp>
#include <string>

namespace creditlib::detail {

/// Throws Error, naming the layer, if a layer draws random numbers in train mode; `so` says what that does to the rule.
inline void refuse_dropout(const std::string& rule, torch::nn::Module& model, const std::string& so) {
  const auto refuse = [&](const std::string& name, const char* layer, double p) {
    if (p == 0) return;
    fail(rule, ": ", name.empty() ? "the module" : name, " is ", layer, " with p = ", p, ", so that ", so,
         "; leave the layer out or set its p to 0.");
  };
  for (const auto& entry : model.named_modules(/*name_prefix=*/{}, /*include_self=*/true)) {
    auto& module = *entry.value();
    const auto& name = entry.key();
    if (const auto* layer = module.as<torch::nn::DropoutImpl>()) refuse(name, "Dropout", layer->options.p());
    if (const auto* layer = module.as<torch::nn::Dropout2dImpl>()) refuse(name, "Dropout2d", layer->options.p());
    if (const auto* layer = module.as<torch::nn::Dropout3dImpl>()) refuse(name, "Dropout3d", layer->options.p());
    if (const auto* layer = module.as<torch::nn::AlphaDropoutImpl>()) refuse(name, "AlphaDropout", layer->options.p());
    if (const auto* layer = module.as<torch::nn::FeatureAlphaDropoutImpl>()) {
      refuse(name, "FeatureAlphaDropout", layer->options.p());
    }
    if (const auto* layer = module.as<torch::nn::MultiheadAttentionImpl>()) {
      refuse(name, "MultiheadAttention", layer->options.dropout());
    }
  }
}

}  // namespace creditlib::detail
