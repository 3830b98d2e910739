// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/container/any.h>
#include <torch/nn/modules/container/named_any.h>
#include <torch/nn/modules/container/sequential.h>

#include <concepts>
#include <creditlib/error.hpp>
#include <creditlib/model/detail/held_module.hpp>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace creditlib {

/// A stage of SequentialBlocks: a torch::nn::Sequential that is also made, implicitly, of one module of any class.
///
///     creditlib::Stage several = torch::nn::Sequential(torch::nn::Linear(64, 32), torch::nn::GELU());
///     creditlib::Stage one = torch::nn::Linear(64, 32);
///     creditlib::Stage mine = std::make_shared<MyLayerImpl>();
///
/// - The module is held as LibTorch's users hold it: in a holder, a std::shared_ptr or a torch::nn::AnyModule.
/// - Its class has `torch::Tensor forward(torch::Tensor)`, neither overloaded nor a template; otherwise it does not
///   compile (in an AnyModule: the network is refused when it is made).
/// - Throws Error if there is no module in it.
class Stage : public torch::nn::Sequential {
 public:
  Stage() = default;
  Stage(torch::nn::Sequential layers) : Sequential(std::move(layers)) {}
  Stage(std::shared_ptr<torch::nn::SequentialImpl> layers) : Sequential(std::move(layers)) {}
  Stage(std::nullptr_t) : Sequential(nullptr) {}
  Stage(std::initializer_list<torch::nn::NamedAnyModule> layers) : Sequential(layers) {}

  /// Of several layers, as torch::nn::Sequential takes them: `blocks.emplace_back(Linear(64, 32), GELU())`.
  template <class First, class Second, class... Rest>
    requires(detail::HeldModule<std::remove_cvref_t<First>> && detail::HeldModule<std::remove_cvref_t<Second>>)
  Stage(First&& first, Second&& second, Rest&&... rest)
      : Sequential(std::forward<First>(first), std::forward<Second>(second), std::forward<Rest>(rest)...) {}

  /// Of one module.
  Stage(torch::nn::AnyModule module) : is_of_one_module_(true) {
    if (module.is_empty()) {
      detail::fail("A stage of SequentialBlocks is a module that is null, expected one that is there.");
    }
    ptr()->push_back(std::move(module));
  }
  template <detail::HeldModule Held>
    requires(!std::derived_from<Held, torch::nn::Sequential>)
  Stage(const Held& module) : Stage(any_of(module)) {}

  /// Whether it was made of one module, and is still that alone: its parameters are then named by the module's own
  /// names, without a number in front.
  bool is_one_module() const { return is_of_one_module_ && !is_empty() && ptr()->size() == 1; }

 private:
  template <class Held>
  static torch::nn::AnyModule any_of(const Held& held) {
    using Module = detail::ModuleOf<Held>;
    constexpr bool fits = detail::MapsTensors<Module> && torch::detail::has_forward<Module>::value;
    static_assert(
        fits,
        "creditlib: a module that is a stage of SequentialBlocks needs `torch::Tensor forward(torch::Tensor)`, "
        "neither overloaded nor a template; put nn::LSTM, nn::GRU and nn::RNN into creditlib::Recurrent");
    if constexpr (fits) {
      auto module = detail::module_of(held);
      return module ? torch::nn::AnyModule(std::move(module)) : torch::nn::AnyModule();
    } else {
      return {};
    }
  }

  bool is_of_one_module_ = false;
};

/// Several, in order; made of a vector of anything that a Stage is made of, too.
class Stages : public std::vector<Stage> {
 public:
  using std::vector<Stage>::vector;
  Stages() = default;
  template <std::convertible_to<Stage> Each>
  Stages(const std::vector<Each>& stages) : vector(stages.begin(), stages.end()) {}
};

}  // namespace creditlib
