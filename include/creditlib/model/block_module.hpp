// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <concepts>
#include <creditlib/error.hpp>
#include <creditlib/model/detail/copied_state.hpp>
#include <creditlib/model/detail/shaped_parts.hpp>
#include <creditlib/model/model_holder.hpp>
#include <creditlib/scope/generators.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <typeinfo>

namespace creditlib {

/// The base of a network in blocks: what all of them have in common. `Derived` registers its layers part by part, and
/// has the stages that the base cannot know:
///
///     struct MyNetOptions {
///       std::int64_t width = 32;
///     };
///     class MyNetImpl : public creditlib::BlockModule<MyNetImpl, MyNetOptions> {
///      public:
///       explicit MyNetImpl(const MyNetOptions& options) : BlockModule(options) {
///         stem_ = register_embed("stem", torch::nn::Linear(64, options.width));
///         for (int l = 0; l < 3; ++l) {
///           register_block(torch::nn::Sequential(torch::nn::Linear(options.width, options.width), torch::nn::Tanh()));
///         }
///         head_ = register_readout("head", torch::nn::Linear(options.width, 10));
///         find_shapes(torch::zeros({1, 64}));
///       }
///       torch::Tensor embed(const torch::Tensor& x) { return stem_(x); }
///       torch::Tensor join(std::int64_t, const torch::Tensor& h, const torch::Tensor& f) { return h + f; }
///       torch::Tensor readout(const torch::Tensor& h) { return head_(h); }
///
///      private:
///       torch::nn::Linear stem_ = nullptr, head_ = nullptr;
///     };
///     using MyNet = creditlib::ModelHolder<MyNetImpl>;
///
/// - `Derived` must have `readout(h)`. It has `embed(x)` if something is registered for the embed, `block(l, h)` if a
///   block is more than the forward(h) of its module, `join(l, h, f)` if the network is residual.
/// - `Options` are kept, for options() and for clone(), which makes the copy from them. A model without options leaves
///   them out and is made of nothing.
/// - Throws Error for parts that do not exist, and for shapes that are asked for before the constructor has set them.
template <class Derived, class OptionsType = NoOptions>
class BlockModule : public detail::ShapedParts<Derived> {
 public:
  using Options = OptionsType;

  /// What the model was made of.
  const Options& options() const { return options_; }

  // ---- The network ----

  /// h_0: x itself, for a network without an embed.
  torch::Tensor embed(const torch::Tensor& x) {
    if (this->has_embed()) {
      detail::fail(this->own_name(),
                   ": layers are registered for the embed, but the class has no embed(x) that runs them.");
    }
    return x;
  }
  /// f_l: the forward(h) of the module that register_block(module) was given.
  torch::Tensor block(std::int64_t l, const torch::Tensor& h) {
    const auto& forward = this->forward_of_block(l);
    if (!forward) {
      detail::fail(this->own_name(), ": block ", l,
                   " is not one module with a forward(h), so the class needs block(l, h).");
    }
    return forward(h);
  }
  /// h_{l+1}: f, for a network without skip connections.
  torch::Tensor join(std::int64_t, const torch::Tensor&, const torch::Tensor& f) { return f; }
  /// The logits, (B, C), of the whole network.
  torch::Tensor forward(const torch::Tensor& x) {
    torch::Tensor h = self().embed(x);
    for (std::int64_t l = 0; l < this->blocks(); ++l) h = self().join(l, h, self().block(l, h));
    return self().readout(h);
  }

  // ---- Copies ----

  /// An independent deep copy, ready for a trainer of its own or for a ModelHolder: parameters, buffers, dtypes and
  /// devices, which parameters are frozen, and each layer's train or eval mode. Gradients are not copied.
  ///
  /// - The copy is made from options() and gets the model's state. What else has been changed since the model was made
  ///   is not copied; a layer that has been replaced by a different one is an Error.
  /// - LibTorch's global generators are left as they are.
  /// - Throws Error for a subclass of Derived that does not override clone(device).
  std::shared_ptr<Derived> clone() const { return typed(clone(std::nullopt)); }
  /// The same, on a device.
  template <std::convertible_to<torch::Device> Device>
  std::shared_ptr<Derived> clone(const Device& device) const {
    return typed(clone(std::optional<torch::Device>(device)));
  }
  /// torch::nn::Module's, which the others call.
  std::shared_ptr<torch::nn::Module> clone(const std::optional<torch::Device>& device) const override {
    return clone_of([this] { return made_again(); }, device);
  }

 protected:
  /// For an override of clone(device): what `make` gives, a std::shared_ptr to a new module of this very class, with
  /// this module's state.
  template <class Make>
  auto clone_of(const Make& make, const std::optional<torch::Device>& device) const {
    return detail::translated([&] {
      const auto tensors = this->parameters();
      const scope::RestoredGlobalGenerators generators(tensors.empty() ? torch::Device(torch::kCPU)
                                                                       : tensors.front().device());
      auto copy = make();
      const torch::nn::Module &original = *this, &made = *copy;
      if (typeid(made) != typeid(original)) {
        const auto subclass = detail::model_name(typeid(original));
        detail::fail(subclass, ": clone() would make a ", detail::model_name(typeid(made)),
                     " of it; override clone(device) in ", subclass, ", by clone_of.");
      }
      detail::copy_state(this->own_name(), original, *copy, device);
      return copy;
    });
  }

 private:
  friend Derived;  // alone may make one: `class A : public BlockModule<B>` does not compile

  BlockModule() {
    static_assert(std::is_same_v<Options, NoOptions>,
                  "creditlib: hand the model's options to its base, `MyNetImpl(const MyNetOptions& options) : "
                  "BlockModule(options)`; clone() makes the copy from them");
  }
  explicit BlockModule(const Options& options) : options_(options) {}

  Derived& self() { return static_cast<Derived&>(*this); }

  // ---- Copies ----

  static std::shared_ptr<Derived> typed(const std::shared_ptr<torch::nn::Module>& copy) {
    return std::static_pointer_cast<Derived>(copy);
  }
  std::shared_ptr<Derived> made_again() const {
    if constexpr (!std::same_as<Options, NoOptions> && std::constructible_from<Derived, const Options&>) {
      return std::make_shared<Derived>(options_);
    } else if constexpr (std::default_initializable<Derived>) {
      return std::make_shared<Derived>();
    } else {
      detail::fail(this->own_name(),
                   ": clone() makes the copy from options, which the class does not have; derive it from "
                   "BlockModule<",
                   this->own_name(), "Impl, Options>, or override clone(device), by clone_of.");
    }
  }
  /// How torch::nn::Cloneable copies a child of its own into the child that a new parent has made.
  void clone_(torch::nn::Module& other, const std::optional<torch::Device>& device) override {
    const torch::nn::Module& mine = *this;
    const auto copy = std::dynamic_pointer_cast<Derived>(other.clone(device));
    if constexpr (std::is_copy_assignable_v<Derived>) {
      if (copy && typeid(mine) == typeid(Derived)) {
        self() = *copy;
        return;
      }
    }
    detail::fail(this->own_name(), ": a ", detail::model_name(typeid(other)), " cannot be copied into a ",
                 detail::model_name(typeid(mine)), " as a part of a larger module.");
  }

  Options options_ = {};
};

}  // namespace creditlib
