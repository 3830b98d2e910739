// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/pimpl.h>

#include <concepts>
#include <creditlib/scope/generators.hpp>
#include <memory>
#include <utility>

namespace creditlib {

/// The options of a model that has none.
struct NoOptions {};

namespace detail {

template <class Impl>
struct OptionsOf {
  using type = NoOptions;
};
template <class Impl>
  requires requires { typename Impl::Options; }
struct OptionsOf<Impl> {
  using type = typename Impl::Options;
};

}  // namespace detail

/// A handle of a model, as TORCH_MODULE makes it: a copy is the same network.
///
///     using MyNet = creditlib::ModelHolder<MyNetImpl>;
///     MyNet model({.width = 8});
///
/// It is made
///
/// - of the model's options, `Impl::Options`: `MyNet({})` has the default ones;
/// - of a std::shared_ptr<Impl>, such as `model->clone()` gives, or of nullptr, which is an empty handle;
/// - of nothing, if Impl is.
template <class Impl>
class ModelHolder : public torch::nn::ModuleHolder<Impl> {
 public:
  using Options = typename detail::OptionsOf<Impl>::type;

  ModelHolder()
    requires std::default_initializable<Impl>
      : torch::nn::ModuleHolder<Impl>(made()) {}
  explicit ModelHolder(const Options& options)
    requires std::constructible_from<Impl, const Options&>
      : torch::nn::ModuleHolder<Impl>(made(options)) {}
  /// Holds `module`, or none for nullptr. A template, because otherwise ModelHolder({}) would hold no module.
  template <std::convertible_to<std::shared_ptr<Impl>> Pointer>
  ModelHolder(Pointer module) : torch::nn::ModuleHolder<Impl>(std::shared_ptr<Impl>(std::move(module))) {}

 private:
  template <class... Arguments>
  static std::shared_ptr<Impl> made(const Arguments&... arguments) {
    const scope::Drawing drawing;  // the first weights
    return std::make_shared<Impl>(arguments...);
  }
};

}  // namespace creditlib
