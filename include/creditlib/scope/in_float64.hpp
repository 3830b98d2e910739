// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <set>
#include <utility>
#include <vector>

namespace creditlib::scope {

/// The dtype in which a measurement runs the network: the model's own, or float64.
enum class Precision { Model, Float64 };

/// Converts a module's floating-point parameters and buffers to float64 and, when it goes out of scope, restores them:
/// the same storage with the same bits, so that optimizers and existing views are unaffected.
///
/// - In between, the module accepts float64 inputs only, and a trainer of it refuses to step.
/// - Do not use it between a forward pass and its backward pass: LibTorch loses a parameter's gradient accumulator when
///   the parameter's dtype changes.
/// - It does nothing for a module in float64, or with Precision::Model.
/// - Cost: a second copy of the parameters, in float64.
class InFloat64 {
 public:
  explicit InFloat64(torch::nn::Module& module, Precision precision = Precision::Float64) {
    if (precision == Precision::Model) return;
    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> tensors = module.parameters(), doubles;
    for (auto& buffer : module.buffers()) tensors.push_back(buffer);
    std::set<const void*> seen;  // layers may share tensors
    std::erase_if(tensors, [&](const torch::Tensor& t) {
      return !t.defined() || !t.is_floating_point() || t.scalar_type() == torch::kFloat64 ||
             !seen.insert(t.unsafeGetTensorImpl()).second;
    });
    // All copies first: if memory runs out, nothing has changed.
    for (const auto& t : tensors) doubles.push_back(t.variable_data().to(torch::kFloat64));
    converted_.reserve(tensors.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      converted_.emplace_back(tensors[i], tensors[i].variable_data());
      tensors[i].set_data(doubles[i]);
    }
  }
  ~InFloat64() {
    const torch::NoGradGuard no_grad;
    for (auto& [tensor, original] : converted_) tensor.set_data(original);
  }
  InFloat64(const InFloat64&) = delete;
  InFloat64& operator=(const InFloat64&) = delete;

 private:
  std::vector<std::pair<torch::Tensor, torch::Tensor>> converted_;
};

/// A tensor as a network in `precision` takes it: floating-point tensors in float64 with Precision::Float64, others
/// unchanged.
inline torch::Tensor in_precision(const torch::Tensor& t, Precision precision) {
  return precision == Precision::Float64 && t.defined() && t.is_floating_point() ? t.to(torch::kFloat64) : t;
}

}  // namespace creditlib::scope

namespace creditlib::diagnostics {
using scope::in_precision;
using scope::InFloat64;
using scope::Precision;
}  // namespace creditlib::diagnostics
