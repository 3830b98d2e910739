// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstddef>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace creditlib {

/// A module's parameters, each once, in the order of its parameters(). LibTorch's parameters() lists one that several
/// layers share at each of its places, so that an optimizer over them would update it several times per step.
inline std::vector<torch::Tensor> distinct_parameters(const torch::nn::Module& module, bool recurse = true) {
  std::vector<torch::Tensor> distinct;
  std::set<const void*> seen;
  for (auto& parameter : module.torch::nn::Module::parameters(recurse)) {
    if (seen.insert(parameter.unsafeGetTensorImpl()).second) distinct.push_back(std::move(parameter));
  }
  return distinct;
}

/// A model's parameters, and which of them belong to each of its parts.
struct ParameterParts {
  std::vector<std::string> names;  ///< of each the first, in the order of distinct_parameters
  std::vector<torch::Tensor> all;  ///< in that order

  // Positions in that order. A parameter that several layers share is of the first part that lists it.
  std::vector<std::size_t> embed = {};
  std::vector<std::vector<std::size_t>> blocks = {};
  std::vector<std::size_t> readout = {};
};

}  // namespace creditlib
