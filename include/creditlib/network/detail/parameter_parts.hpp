// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/concepts.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/parameter_parts.hpp>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// A model's parameters by part. A parameter that several layers share is of the first part that lists it.
///
/// Throws Error if a parameter belongs to no part of the model, and for mixed dtypes or devices.
template <BlockModel Model>
ParameterParts parameter_parts(Model& model) {
  if (!model) fail("The model is a null pointer, expected a module.");
  ParameterParts parts;
  std::map<const void*, std::size_t> position;
  for (const auto& entry : model->named_parameters()) {
    if (!position.emplace(entry.value().unsafeGetTensorImpl(), parts.all.size()).second) continue;
    parts.names.push_back(entry.key());
    parts.all.push_back(entry.value());
  }
  if (parts.all.empty()) fail("The model has no parameters: register its modules, so that parameters() finds them.");
  for (std::size_t i = 0; i < parts.all.size(); ++i) {
    const auto &first = parts.all[0], &other = parts.all[i];
    if (other.scalar_type() != first.scalar_type() || other.device() != first.device()) {
      fail("Parameter ", parts.names[i], " is ", tensor_text(other), ", but ", parts.names[0], " is ",
           tensor_text(first), "; move the whole model to one dtype and device before making a trainer.");
    }
  }

  std::vector<char> owned(parts.all.size());
  const auto claim = [&](const std::string& part, const std::vector<torch::Tensor>& parameters) {
    std::vector<std::size_t> positions;
    for (const auto& parameter : parameters) {
      const auto found = position.find(parameter.unsafeGetTensorImpl());
      if (found == position.end()) {
        fail(part, " lists a parameter ", tensor_text(parameter),
             " that is not among the model's parameters(); register it.");
      }
      if (std::exchange(owned[found->second], 1)) continue;  // shared: it is of the first part that lists it
      positions.push_back(found->second);
    }
    return positions;
  };
  parts.embed = claim("embed_parameters()", model->embed_parameters());
  for (std::int64_t l = 0; l < model->blocks(); ++l) {
    parts.blocks.push_back(claim("block_parameters(" + std::to_string(l) + ")", model->block_parameters(l)));
  }
  parts.readout = claim("readout_parameters()", model->readout_parameters());
  for (std::size_t i = 0; i < parts.all.size(); ++i) {
    if (!owned[i]) {
      fail("Parameter ", parts.names[i],
           " is in no part of the model; list it in embed_parameters(), block_parameters(l) or "
           "readout_parameters().");
    }
  }
  return parts;
}

}  // namespace creditlib::detail
