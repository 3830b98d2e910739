// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <string>
#include <utility>
#include <vector>

namespace creditlib {

/// Named tensors in a fixed order: what a checkpoint keeps of a credit source, an optimizer or a model.
using NamedTensors = std::vector<std::pair<std::string, torch::Tensor>>;

/// Names `tensors` "name.0", "name.1", …; undefined tensors are skipped, and the others keep their index.
inline NamedTensors numbered(const std::string& name, const std::vector<torch::Tensor>& tensors) {
  NamedTensors named;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].defined()) named.emplace_back(name + "." + std::to_string(i), tensors[i]);
  }
  return named;
}

/// The same tensors, with `prefix` and a dot before each name.
inline NamedTensors prefixed(const std::string& prefix, NamedTensors named) {
  for (auto& [name, tensor] : named) name = prefix + "." + name;
  return named;
}

}  // namespace creditlib
