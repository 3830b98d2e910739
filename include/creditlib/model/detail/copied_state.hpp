// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/util/Type.h>
#include <torch/nn/module.h>
#include <torch/types.h>

#include <algorithm>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <typeinfo>

namespace creditlib::detail {

/// A class's name in error messages: without namespaces, template arguments and "Impl".
inline std::string model_name(const std::type_info& type) {
  std::string name = c10::demangle(type.name());
  name.resize(std::min(name.find('<'), name.size()));
  if (const auto space = name.rfind("::"); space != std::string::npos) name.erase(0, space + 2);
  constexpr std::string_view impl = "Impl";
  if (name.ends_with(impl) && name.size() > impl.size()) name.resize(name.size() - impl.size());
  return name;
}

/// A layer with its options, as printing the model shows it.
inline std::string layer_text(const torch::nn::Module& module) {
  std::ostringstream text;
  module.pretty_print(text);
  return text.str();
}

/// Gives `copy` the state of `original`, which has the same layers: values, dtypes and devices of parameters and
/// buffers, which parameters are trained, and the train or eval mode of each layer. On `device` if there is one. Throws
/// Error, beginning with `whose`, if the layers are not the same.
inline void copy_state(const std::string& whose, const torch::nn::Module& original, torch::nn::Module& copy,
                       const std::optional<torch::Device>& device) {
  const torch::NoGradGuard no_grad;
  const auto differ = [&](const std::string& name, const std::string& one, const std::string& other) {
    fail(whose, ": the copy has ", name, " as ", other, ", the model as ", one,
         "; a copy is made from options(), so change a layer in the constructor, not afterwards.");
  };
  const auto layers = original.named_modules("", /*include_self=*/false),
             copied = copy.named_modules("", /*include_self=*/false);
  for (const auto& layer : layers) {
    const auto* same = copied.find(layer.key());
    const auto one = layer_text(*layer.value()), other = same ? layer_text(**same) : "none";
    if (one != other) differ("layer " + layer.key(), one, other);
  }
  for (const auto& layer : copied) {
    if (!layers.contains(layer.key())) differ("layer " + layer.key(), "none", layer_text(*layer.value()));
  }

  const auto copy_tensors = [&](const char* kind, const auto& from, const auto& to) {
    for (const auto& entry : to) {
      if (!from.contains(entry.key())) differ(kind + entry.key(), "none", tensor_text(entry.value()));
    }
    for (const auto& entry : from) {
      const auto& tensor = entry.value();
      const auto* found = to.find(entry.key());
      auto into = found ? *found : torch::Tensor();
      if (!into.defined() || into.sizes() != tensor.sizes()) {
        differ(kind + entry.key(), tensor_text(tensor), found ? tensor_text(into) : "none");
      }
      into.set_data(tensor.detach().to(device.value_or(tensor.device()), tensor.scalar_type(), /*non_blocking=*/false,
                                       /*copy=*/true));
      into.set_requires_grad(tensor.requires_grad());
    }
  };
  // What is one tensor in the model has to be one in the copy.
  const auto of_copy = copy.named_parameters();
  std::map<const void*, std::string> first_name;
  for (const auto& entry : original.named_parameters()) {
    const auto [first, is_new] = first_name.emplace(entry.value().unsafeGetTensorImpl(), entry.key());
    const auto *one = of_copy.find(first->second), *other = of_copy.find(entry.key());
    if (!is_new && one && other && !one->is_same(*other)) {
      fail(whose, ": the model's ", entry.key(), " is ", first->second,
           ", but the copy's are two tensors; share them in the constructor, not afterwards.");
    }
  }
  copy_tensors("parameter ", original.named_parameters(), copy.named_parameters());
  copy_tensors("buffer ", original.named_buffers(), copy.named_buffers());

  copy.train(original.is_training());
  // Parents come before their children, so each layer's own mode is set last.
  for (const auto& layer : layers) copied[layer.key()]->train(layer.value()->is_training());
}

}  // namespace creditlib::detail
