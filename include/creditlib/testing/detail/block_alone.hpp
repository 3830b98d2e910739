// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/concepts.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/parameter_parts.hpp>
#include <creditlib/trace.hpp>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <vector>

/// What there is in a process that has one block of a network alone, with the embed below the first and the readout above
/// the last.
namespace creditlib::detail::laws {

/// Whether h_l is trained there: it is the block's output, or the embed's.
inline bool trained_in_block(std::size_t l, std::size_t block) { return l == block + 1 || (l == 0 && block == 0); }

/// The tensors of a rule's state that belong to hidden states which are trained elsewhere.
template <class State>
std::vector<torch::Tensor> tensors_elsewhere(const State& state, std::size_t block, std::size_t blocks) {
  std::vector<torch::Tensor> tensors;
  if constexpr (HasTensorsOf<State>) {
    for (std::size_t l = 0; l <= blocks; ++l) {
      if (trained_in_block(l, block)) continue;
      for (const auto& tensor : state.tensors_of(static_cast<std::int64_t>(l))) {
        if (tensor.defined()) tensors.push_back(tensor);
      }
    }
  }
  return tensors;
}

/// The names of those that a checkpoint keeps.
template <class State>
std::set<std::string> names_of(const State& state, const std::vector<torch::Tensor>& tensors) {
  std::set<std::string> names;
  if constexpr (HasNamedTensors<State>) {
    for (const auto& [name, tensor] : state.named_tensors()) {
      const auto is_this = [&tensor = tensor](const torch::Tensor& other) { return other.is_same(tensor); };
      if (std::ranges::any_of(tensors, is_this)) names.insert(name);
    }
  }
  return names;
}

/// Empties the parameters that are trained elsewhere, and these tensors.
template <class Model>
void leave_block(Model& model, std::size_t block, const std::vector<torch::Tensor>& elsewhere) {
  const auto empty = [](torch::Tensor tensor) {
    tensor.set_data(torch::empty({0}, tensor.options().requires_grad(false)));
  };
  const auto blocks = static_cast<std::size_t>(model->blocks());
  for (std::size_t l = 0; l < blocks; ++l) {
    if (l == block) continue;
    for (const auto& parameter : model->block_parameters(static_cast<std::int64_t>(l))) empty(parameter);
  }
  if (block > 0) {
    for (const auto& parameter : model->embed_parameters()) empty(parameter);
  }
  if (block + 1 < blocks) {
    for (const auto& parameter : model->readout_parameters()) empty(parameter);
  }
  for (const auto& tensor : elsewhere) empty(tensor);
}

/// Takes the states away that are trained elsewhere, the graph of the readout, and error and logits from a rule that does
/// not read the error.
inline void leave_states(Trace& trace, std::size_t block, bool reads_error) {
  if (block > 0) trace.input.reset();
  if (block + 1 < trace.branch.size()) TraceAccess::attach(trace, nullptr);
  for (std::size_t l = 0; l < trace.hidden.size(); ++l) {
    if (!trained_in_block(l, block)) trace.hidden[l].reset();
  }
  for (std::size_t l = 0; l < trace.branch.size(); ++l) {
    if (l != block) trace.branch[l].reset();
  }
  if (reads_error) return;
  trace.error = torch::full_like(trace.error, std::numeric_limits<double>::quiet_NaN());
  trace.logits = trace.error;
}

}  // namespace creditlib::detail::laws
