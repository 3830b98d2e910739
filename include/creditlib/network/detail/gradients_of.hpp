// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/detail/gradient_ready.hpp>
#include <cstddef>
#include <memory>
#include <unordered_set>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// While it lives, autograd tells `ready` of these parameters' gradients.
class ReadyHooks {
 public:
  ReadyHooks(const std::vector<torch::Tensor>& parameters, const GradientReady& ready)
      : parameters_(ready ? parameters : std::vector<torch::Tensor>{}) {
    for (const auto& parameter : parameters_) {
      auto hook = std::make_unique<Hook>(parameter, ready);
      hooks_.push_back(hook.get());
      torch::autograd::impl::add_hook(parameter, std::move(hook));
    }
  }
  ~ReadyHooks() {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      std::erase_if(torch::autograd::impl::hooks(parameters_[i]),
                    [&](const auto& hook) { return hook.get() == hooks_[i]; });
    }
  }
  ReadyHooks(const ReadyHooks&) = delete;
  ReadyHooks& operator=(const ReadyHooks&) = delete;

 private:
  struct Hook final : torch::autograd::FunctionPreHook {
    Hook(torch::Tensor of, const GradientReady& ready) : parameter(std::move(of)), told(ready) {}
    std::vector<torch::Tensor> operator()(const std::vector<torch::Tensor>& gradients) override {
      const auto& gradient = gradients[0];
      if (gradient.defined() && gradient.layout() == torch::kStrided) told(parameter, gradient);
      return gradients;
    }
    torch::Tensor parameter;
    const GradientReady& told;
  };

  std::vector<torch::Tensor> parameters_;
  std::vector<const torch::autograd::FunctionPreHook*> hooks_;
};

/// The gradients of `parameters` by one backward pass; undefined for a parameter that is frozen or that no gradient
/// reaches.
///
/// The pass starts from `outputs`, which may lie on several graphs. `seeds` holds the loss gradient in each output
/// (undefined: 1, for a scalar). Outputs that depend on nothing trainable are skipped. `ready` is told of each gradient
/// when it is whole.
inline std::vector<torch::Tensor> gradients_of(const std::vector<torch::Tensor>& outputs,
                                               const std::vector<torch::Tensor>& seeds,
                                               const std::vector<torch::Tensor>& parameters,
                                               const GradientReady& ready = {}) {
  // Seeds get the memory layout of their outputs: backward kernels are slow if an output is channels-last and its
  // gradient is not (a quarter of a SmallCNN step).
  const auto in_layout_of = [](const torch::Tensor& output, const torch::Tensor& seed) {
    if (!seed.defined() || seed.strides() == output.strides()) return seed;
    return torch::empty_like(output.detach()).copy_(seed);
  };
  std::vector<torch::Tensor> roots, root_seeds, trainable, gradients(parameters.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i].requires_grad()) continue;
    roots.push_back(outputs[i]);
    root_seeds.push_back(in_layout_of(outputs[i], seeds[i]));
  }
  for (const auto& parameter : parameters) {
    if (parameter.requires_grad()) trainable.push_back(parameter);
  }
  if (roots.empty() || trainable.empty()) return gradients;
  const ReadyHooks hooks(trainable, ready);
  auto found = torch::autograd::grad(roots, trainable, root_seeds, /*retain_graph=*/false, /*create_graph=*/false,
                                     /*allow_unused=*/true);
  // Each is to be a .grad() of its own, which others write into: not a view, such as the transpose of a product, which
  // LibTorch's zero_grad refuses; nor one tensor for two parameters, such as the gradient of a sum; nor one expanded.
  std::unordered_set<const void*> storages;
  for (std::size_t i = 0, next = 0; i < parameters.size(); ++i) {
    if (!parameters[i].requires_grad()) continue;
    if (const auto& gradient = found[next++]; gradient.defined()) {
      if (gradient.layout() != torch::kStrided) {
        fail("Parameter ", i, " of the model, ", tensor_text(parameters[i]),
             ", gets a sparse gradient, which trainers ", "do not take; make its layer without the option `sparse`.");
      }
      const bool own = storages.insert(gradient.storage().unsafeGetStorageImpl()).second;
      gradients[i] = own && gradient.is_non_overlapping_and_dense() ? gradient.detach() : gradient.clone().detach();
    }
  }
  return gradients;
}

/// (d of/d by)^T v, zeros if `of` does not depend on `by`. The graph remains.
inline torch::Tensor pulled_back(const torch::Tensor& of, const torch::Tensor& by, const torch::Tensor& v) {
  if (!of.requires_grad()) return torch::zeros_like(by);
  const auto found =
      torch::autograd::grad({of}, {by}, {v}, /*retain_graph=*/true, /*create_graph=*/false, /*allow_unused=*/true);
  return found[0].defined() ? found[0] : torch::zeros_like(by);
}

}  // namespace creditlib::detail
