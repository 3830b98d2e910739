// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/closed_form/detail/backward_work.hpp>
#include <creditlib/closed_form/detail/buffer.hpp>
#include <creditlib/network/detail/gradient_ready.hpp>
#include <creditlib/pass/output_gradients.hpp>
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
    untold_.clear();
    for (auto& [key, slot] : slots_) {
      slot.gradient.reset();
      slot.factors = {};
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
    untold_.push_back(&slot);
    return slot.gradient;
  }
  /// Adds to `todo` that `ready` is told of the gradients whose buffers were asked for since the last call, once what was
  /// added for them is done.
  void tell(const GradientReady& ready, BackwardWork& todo) {
    if (ready && !untold_.empty()) {
      todo.add_milestone([&ready, slots = untold_] {
        for (const auto* slot : slots) ready(slot->parameter, slot->made());
      });
    }
    untold_.clear();
  }

  /// Whether gradients that are products of thin matrices are to be kept so.
  bool keeps_factors() const { return keeps_factors_; }
  void keep_factors(bool on) { keeps_factors_ = on; }
  /// The buffer, of these sizes, for the right factor of a trainable parameter's gradient, instead of buffer_for().
  torch::Tensor& right_factor_for(const torch::Tensor& parameter, const torch::Tensor& left, torch::IntArrayRef sizes) {
    auto& slot = slots_.at(parameter.unsafeGetTensorImpl());
    slot.factors = {left, slot.right.get(sizes, parameter.options())};
    untold_.push_back(&slot);
    return slot.factors.right;
  }
  /// Those written since clear(), in the order of `parameters`; undefined for the others.
  std::vector<FactoredGradient> factors(const std::vector<torch::Tensor>& parameters) {
    std::vector<FactoredGradient> all;
    if (!keeps_factors_) return all;
    for (const auto& parameter : parameters)
      all.push_back(std::exchange(slots_.at(parameter.unsafeGetTensorImpl()).factors, {}));
    return all;
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
    Buffer right = {};
    FactoredGradient factors = {};

    const torch::Tensor& made() const { return factors.defined() ? factors.right : gradient; }
  };
  std::unordered_map<const void*, Slot> slots_;
  std::vector<const Slot*> untold_;
  bool keeps_factors_ = false;
};

}  // namespace creditlib::detail
