// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/closed_form/detail/buffer.hpp>
#include <unordered_map>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// The buffers that closed-form gradients of parameters are written to, one per parameter. Without parameters nothing
/// is written.
class GradientBuffers {
 public:
  explicit GradientBuffers(const std::vector<torch::Tensor>& parameters) {
    for (const auto& parameter : parameters) slots_.emplace(parameter.unsafeGetTensorImpl(), Slot{parameter, {}, {}});
  }

  /// Resets: no parameter has a gradient.
  void clear() {
    for (auto& [key, slot] : slots_) {
      slot.gradient.reset();
      // If the parameter's grad is still this buffer, drop it, so that the buffer can be overwritten.
      if (slot.parameter.grad().defined() && slot.parameter.grad().is_same(slot.buffer.tensor()))
        slot.parameter.mutable_grad().reset();
    }
  }

  bool wants(const torch::Tensor& parameter) const {
    return !slots_.empty() && parameter.defined() && parameter.requires_grad();
  }

  /// The buffer for a trainable parameter's gradient.
  torch::Tensor& buffer_for(const torch::Tensor& parameter) {
    auto& slot = slots_.at(parameter.unsafeGetTensorImpl());
    slot.gradient = slot.buffer.get(parameter.sizes(), parameter.options());
    return slot.gradient;
  }

  /// The gradients written since clear(), in the order of `parameters`; undefined for the others.
  std::vector<torch::Tensor> gradients(const std::vector<torch::Tensor>& parameters) {
    std::vector<torch::Tensor> all;
    all.reserve(parameters.size());
    for (const auto& parameter : parameters)
      all.push_back(std::move(slots_.at(parameter.unsafeGetTensorImpl()).gradient));
    return all;
  }

 private:
  struct Slot {
    torch::Tensor parameter;
    Buffer buffer;
    torch::Tensor gradient;
  };
  std::unordered_map<const void*, Slot> slots_;
};

}  // namespace creditlib::detail
