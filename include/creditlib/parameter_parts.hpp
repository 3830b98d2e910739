// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstddef>
#include <string>
#include <vector>

namespace creditlib {

/// A model's parameters, and which of them belong to each of its parts.
struct ParameterParts {
  std::vector<std::string> names;  ///< in the order of the model's parameters()
  std::vector<torch::Tensor> all;  ///< in that order

  // Positions in that order. A parameter that several layers share is of the first part that lists it.
  std::vector<std::size_t> embed = {};
  std::vector<std::vector<std::size_t>> blocks = {};
  std::vector<std::size_t> readout = {};
};

}  // namespace creditlib
