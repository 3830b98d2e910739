// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/container/any.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <concepts>
#include <functional>
#include <memory>
#include <utility>

/// The ways in which LibTorch's users hold a module: a holder, a std::shared_ptr, a torch::nn::AnyModule.
namespace creditlib::detail {

template <class Module>
std::shared_ptr<Module> module_of(const torch::nn::ModuleHolder<Module>& holder) {
  return holder.is_empty() ? nullptr : holder.ptr();
}
template <std::derived_from<torch::nn::Module> Module>
std::shared_ptr<Module> module_of(std::shared_ptr<Module> module) {
  return module;
}
inline std::shared_ptr<torch::nn::Module> module_of(const torch::nn::AnyModule& any) {
  return any.is_empty() ? nullptr : any.ptr();
}

template <class Held>
concept HeldModule = requires(const Held& held) { module_of(held); };

/// The class of the module that is held.
template <HeldModule Held>
using ModuleOf = typename decltype(module_of(std::declval<const Held&>()))::element_type;

/// Whether a module has `torch::Tensor forward(torch::Tensor)`.
template <class Module>
concept MapsTensors = requires(Module& module, const torch::Tensor& h) {
  { module.forward(h) } -> std::convertible_to<torch::Tensor>;
};

using Forward = std::function<torch::Tensor(const torch::Tensor&)>;

/// The forward(h) of a module that is not null; an empty function if its class has none.
template <HeldModule Held>
Forward forward_of(const Held& held) {
  if constexpr (MapsTensors<ModuleOf<Held>>) {
    return [module = module_of(held)](const torch::Tensor& h) -> torch::Tensor { return module->forward(h); };
  } else {
    return nullptr;
  }
}
inline Forward forward_of(const torch::nn::AnyModule& any) {
  return [any = torch::nn::AnyModule(any)](const torch::Tensor& h) mutable { return any.forward(h); };
}

}  // namespace creditlib::detail
