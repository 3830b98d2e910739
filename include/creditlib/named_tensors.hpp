#pragma once

#include <torch/types.h>

#include <string>
#include <utility>
#include <vector>

namespace creditlib {

/// Tensors with names, in an order of their own: what a checkpoint keeps of a credit source, an optimiser or a model.
using NamedTensors = std::vector<std::pair<std::string, torch::Tensor>>;

/// "name.0", "name.1", … for the defined ones among `tensors`; an undefined tensor keeps its number and is left out.
inline NamedTensors numbered(const std::string& name, const std::vector<torch::Tensor>& tensors) {
  NamedTensors named;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].defined()) named.emplace_back(name + "." + std::to_string(i), tensors[i]);
  }
  return named;
}

/// The same tensors, each name behind `prefix` and a dot.
inline NamedTensors prefixed(const std::string& prefix, NamedTensors named) {
  for (auto& [name, tensor] : named) name = prefix + "." + name;
  return named;
}

}  // namespace creditlib
