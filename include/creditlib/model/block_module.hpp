// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/types.h>

#include <algorithm>
#include <concepts>
#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/output_positions.hpp>
#include <creditlib/error.hpp>
#include <creditlib/model/detail/copied_state.hpp>
#include <creditlib/model/detail/each_stage.hpp>
#include <creditlib/model/detail/example_shapes.hpp>
#include <creditlib/model/detail/found_layout.hpp>
#include <creditlib/model/detail/held_module.hpp>
#include <creditlib/model/detail/layouts.hpp>
#include <creditlib/model/detail/logits_layout.hpp>
#include <creditlib/model/detail/samples_apart.hpp>
#include <creditlib/model/model_holder.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/parameter_parts.hpp>
#include <creditlib/scope/eval_mode.hpp>
#include <creditlib/scope/generators.hpp>
#include <creditlib/scope/untouched.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

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
class BlockModule : public torch::nn::Module {
 public:
  using Options = OptionsType;
  using Shapes = std::vector<std::vector<std::int64_t>>;

  /// What the model was made of.
  const Options& options() const { return options_; }

  // ---- The network ----

  /// L.
  std::int64_t blocks() const { return static_cast<std::int64_t>(block_parts_.size()); }
  /// C.
  std::int64_t classes() const {
    check_shapes_known("classes()");
    return classes_;
  }
  /// The sizes of h_l without the batch, l = 0..L.
  std::vector<std::int64_t> hidden_shape(std::int64_t l) const {
    check_shapes_known("hidden_shape(l)");
    if (l < 0 || l > blocks()) detail::fail(own_name(), ": there is no h_", l, ", expected 0..", blocks(), ".");
    return hidden_shapes_[static_cast<std::size_t>(l)];
  }

  /// The sizes of the logits without the batch: (C), (N, C), (C, H, W) or (C, D, H, W).
  std::vector<std::int64_t> logits_shape() const {
    check_shapes_known("logits_shape()");
    return logits_shape_;
  }
  /// Which dimension of h_l holds its features, l = 0..L: what set_layout said, or the usual one of its shape.
  HiddenLayout hidden_layout(std::int64_t l) const {
    const auto shape = hidden_shape(l);
    return layouts_.of(l, shape);
  }

  /// h_0: x itself, for a network without an embed.
  torch::Tensor embed(const torch::Tensor& x) {
    if (!embed_part_.empty()) {
      detail::fail(own_name(), ": layers are registered for the embed, but the class has no embed(x) that runs them.");
    }
    return x;
  }
  /// f_l: the forward(h) of the module that register_block(module) was given.
  torch::Tensor block(std::int64_t l, const torch::Tensor& h) {
    const auto& forward_of_block = block_parts_[checked(l)].forward;
    if (!forward_of_block) {
      detail::fail(own_name(), ": block ", l, " is not one module with a forward(h), so the class needs block(l, h).");
    }
    return forward_of_block(h);
  }
  /// h_{l+1}: f, for a network without skip connections.
  torch::Tensor join(std::int64_t, const torch::Tensor&, const torch::Tensor& f) { return f; }
  /// The logits, (B, C), of the whole network.
  torch::Tensor forward(const torch::Tensor& x) {
    torch::Tensor h = self().embed(x);
    for (std::int64_t l = 0; l < blocks(); ++l) h = self().join(l, h, self().block(l, h));
    return self().readout(h);
  }

  /// All parameters, each once, where LibTorch's lists one that several layers share several times: what an optimizer
  /// updates, in the order of a trainer's gradients(). named_parameters() is LibTorch's and names all places.
  std::vector<torch::Tensor> parameters(bool recurse = true) const { return distinct_parameters(*this, recurse); }
  // The parameters of each part, in the order of registration.
  std::vector<torch::Tensor> embed_parameters() const { return parameters_of(embed_part_); }
  std::vector<torch::Tensor> block_parameters(std::int64_t l) const {
    return parameters_of(block_parts_[checked(l)].entries);
  }
  std::vector<torch::Tensor> readout_parameters() const { return parameters_of(readout_part_); }

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
  // ---- For Derived's constructor ----

  // Each registers a module (a holder, a std::shared_ptr or an AnyModule) or a parameter under a name, as register_module and
  // register_parameter do, and notes the part that it belongs to. A part may have several. They return the module's
  // pointer, or the parameter.

  template <detail::HeldModule Held>
  auto register_embed(const std::string& name, const Held& module) {
    return registered(embed_part_, name, module);
  }
  torch::Tensor register_embed(const std::string& name, const torch::Tensor& parameter, bool requires_grad = true) {
    return registered(embed_part_, name, parameter, requires_grad);
  }
  template <detail::HeldModule Held>
  auto register_readout(const std::string& name, const Held& module) {
    return registered(readout_part_, name, module);
  }
  torch::Tensor register_readout(const std::string& name, const torch::Tensor& parameter, bool requires_grad = true) {
    return registered(readout_part_, name, parameter, requires_grad);
  }

  /// The next block, named "blocks.<l>". If the module has a forward(h), the block is run by it.
  template <detail::HeldModule Held>
  auto register_block(const Held& module) {
    const auto pointer = checked_module("blocks." + std::to_string(blocks()), module);
    if (const auto* layers = pointer->template as<torch::nn::SequentialImpl>()) {
      detail::refuse_tuples(*layers, own_name(), "block " + std::to_string(blocks()));
    }
    if (block_list_ ? block_list_->size() != block_parts_.size() : !block_parts_.empty()) {
      detail::fail(own_name(), ": block ", blocks(),
                   " has no name, but earlier blocks have; give every block a name, or none.");
    }
    detail::translated([&] {
      if (!block_list_) block_list_ = this->register_module("blocks", torch::nn::ModuleList());
      block_list_->push_back(std::shared_ptr<torch::nn::Module>(pointer));
    });
    auto& block = block_parts_.emplace_back();
    block.entries.emplace_back(std::shared_ptr<torch::nn::Module>(pointer));
    block.forward = detail::forward_of(module);
    return pointer;
  }
  /// A layer of block l under a name of your own; l is a block that is there, or the next one. Derived runs it.
  template <detail::HeldModule Held>
  auto register_block(std::int64_t l, const std::string& name, const Held& module) {
    const auto registered_one = registered(entries_of(l, name), name, module);
    block_parts_[static_cast<std::size_t>(l)].forward = nullptr;
    return registered_one;
  }
  torch::Tensor register_block(std::int64_t l, const std::string& name, const torch::Tensor& parameter,
                               bool requires_grad = true) {
    auto registered_one = registered(entries_of(l, name), name, parameter, requires_grad);
    block_parts_[static_cast<std::size_t>(l)].forward = nullptr;
    return registered_one;
  }

  /// Says the sizes of h_0..h_L without the batch, and C. Comes after the registrations.
  void set_shapes(Shapes hidden, std::int64_t classes) {
    if (static_cast<std::int64_t>(hidden.size()) != blocks() + 1) {
      detail::fail(own_name(), ": set_shapes got ", hidden.size(), " shapes, but ", blocks(),
                   " blocks are registered; expected ", blocks() + 1, ": one for each of h_0..h_L.");
    }
    check_layouts(hidden, {});
    hidden_shapes_ = std::move(hidden);
    classes_ = classes;
    logits_shape_ = {classes};
  }

  /// The same with logits that have positions, of this shape for one sample.
  void set_shapes(Shapes hidden, std::vector<std::int64_t> logits) {
    const auto dimension = detail::class_dimension(static_cast<std::int64_t>(logits.size()) + 1);
    set_shapes(std::move(hidden), logits.at(static_cast<std::size_t>(dimension - 1)));
    logits_shape_ = std::move(logits);
  }

  /// Says that the number of positions differs between batches: sequences of any length, images of any size. Comes
  /// before the shapes are found, which then have -1 for it.
  void set_any_positions() {
    check_open("any_positions");
    any_positions_ = true;
  }

  /// Says which dimension of the hidden states with positions holds the features: of all of them, or of h_l. Comes
  /// before the shapes are set. Without it (N, d) has its features last, and (C, H, W) and (C, D, H, W) first; a network
  /// with (C, T) has to say so.
  void set_layout(HiddenLayout layout) {
    check_open("layout");
    layouts_.set(layout);
  }
  void set_layout(std::int64_t l, HiddenLayout layout) {
    check_open("layout");
    layouts_.set(l, layout);
  }

  /// Finds the shapes by running an input, (1, ...), through the network, once and in eval mode. Comes after the
  /// registrations, and after everything that the stages use. Modes, running statistics and LibTorch's global generators
  /// are left as they are. Throws Error if the stages do not fit together, if a stage's output for a sample depends on
  /// the other samples of the batch, if the layout of a hidden state has to be said, and if there are no blocks.
  void find_shapes(const torch::Tensor& example, const detail::StageNames& names = {}) {
    if (block_parts_.empty()) {
      detail::fail(own_name(), ": no blocks are registered; call register_block for each of them before find_shapes.");
    }
    if (!example.defined() || example.dim() == 0 || example.size(0) == 0) {
      detail::fail(own_name(), ": the example is ", detail::tensor_text(example),
                   ", expected an input such as torch::zeros({1, 64}).");
    }
    detail::translated([&] {
      const torch::NoGradGuard no_grad;
      const scope::EvalMode eval(*this);
      const scope::Untouched untouched(*this, example.device());
      run_example(example, names);
    });
  }

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
      detail::copy_state(own_name(), original, *copy, device);
      return copy;
    });
  }

 private:
  friend Derived;  // alone may make one: `class A : public BlockModule<B>` does not compile

  using Part = std::vector<std::variant<std::shared_ptr<torch::nn::Module>, torch::Tensor>>;
  struct Block {
    Part entries;
    detail::Forward forward;
  };

  BlockModule() {
    static_assert(std::is_same_v<Options, NoOptions>,
                  "creditlib: hand the model's options to its base, `MyNetImpl(const MyNetOptions& options) : "
                  "BlockModule(options)`; clone() makes the copy from them");
  }
  explicit BlockModule(const Options& options) : options_(options) {}

  Derived& self() { return static_cast<Derived&>(*this); }
  static std::string own_name() { return detail::model_name(typeid(Derived)); }

  std::size_t checked(std::int64_t l) const {
    if (l < 0 || l >= blocks()) {
      detail::fail(own_name(), ": there is no block ", l, ", expected ",
                   block_parts_.empty() ? "none" : "0.." + std::to_string(blocks() - 1), ".");
    }
    return static_cast<std::size_t>(l);
  }
  void check_shapes_known(const char* asked) const {
    if (hidden_shapes_.empty()) {
      detail::fail(own_name(), ": ", asked,
                   " is not known yet; end the constructor with find_shapes(example) or set_shapes(hidden, classes).");
    }
  }

  // ---- Registration ----

  template <class Held>
  auto checked_module(const std::string& name, const Held& module) const {
    auto pointer = detail::module_of(module);
    if (!pointer) detail::fail(own_name(), ": \"", name, "\" is registered as an empty module.");
    check_open(name);
    return pointer;
  }
  void check_open(const std::string& name) const {
    if (!hidden_shapes_.empty()) {
      detail::fail(own_name(), ": \"", name, "\" is registered after the shapes were set; register everything first.");
    }
  }
  template <class Held>
  auto registered(Part& part, const std::string& name, const Held& module) {
    auto pointer = checked_module(name, module);
    detail::translated([&] { this->register_module(name, pointer); });
    part.emplace_back(std::shared_ptr<torch::nn::Module>(pointer));
    return pointer;
  }
  torch::Tensor registered(Part& part, const std::string& name, const torch::Tensor& parameter, bool requires_grad) {
    if (!parameter.defined()) detail::fail(own_name(), ": \"", name, "\" is registered as an undefined tensor.");
    check_open(name);
    auto kept = detail::translated([&] { return this->register_parameter(name, parameter, requires_grad); });
    part.emplace_back(kept);
    return kept;
  }
  Part& entries_of(std::int64_t l, const std::string& name) {
    if (l < 0 || l > blocks()) {
      detail::fail(own_name(), ": \"", name, "\" is registered for block ", l, ", but there are ", blocks(),
                   " blocks so far; blocks are registered in order, from 0.");
    }
    if (l == blocks()) block_parts_.emplace_back();
    return block_parts_[static_cast<std::size_t>(l)].entries;
  }
  static std::vector<torch::Tensor> parameters_of(const Part& part) {
    std::vector<torch::Tensor> parameters;
    for (const auto& entry : part) {
      if (const auto* tensor = std::get_if<torch::Tensor>(&entry)) {
        parameters.push_back(*tensor);
      } else {
        for (auto& parameter : std::get<0>(entry)->parameters()) parameters.push_back(std::move(parameter));
      }
    }
    return parameters;
  }

  // ---- Shapes ----

  void run_example(const torch::Tensor& example, const detail::StageNames& names) {
    auto found = detail::example_shapes(self(), example, own_name(), names);
    detail::check_samples_apart(self(), example, own_name(), names);
    check_layouts(found.hidden, names);
    check_readout(found, names);
    classes_ = features(found.logits);
    if (any_positions_) {
      for (std::size_t l = 0; l < found.hidden.size(); ++l) {
        auto& shape = found.hidden[l];
        shape = detail::with_any_positions(shape, layouts_.of(static_cast<std::int64_t>(l), shape));
      }
      found.logits = detail::with_any_positions(found.logits, usual_layout(found.logits));
    }
    hidden_shapes_ = std::move(found.hidden);
    logits_shape_ = std::move(found.logits);
  }
  /// Logits (B, C, N) are not taken for (B, N, C): their layout is found from the layers, or tried out where it may be
  /// another than the usual one.
  void check_readout(const detail::ExampleShapes& found, const detail::StageNames& names) {
    auto layout = names.logits_layout;
    const bool unusual = found.logits.size() > 2 || reads_over_time();
    if (!layout && unusual && found.logits.size() > 1 && found.hidden.back().size() > 1) {
      layout = detail::tried_logits_layout(self(), found.last, layouts_.of(blocks(), found.hidden.back()));
    }
    detail::check_logits_layout(found.logits, layout, own_name());
  }
  bool reads_over_time() const {
    return std::any_of(readout_part_.begin(), readout_part_.end(), [](const auto& entry) {
      const auto* module = std::get_if<std::shared_ptr<torch::nn::Module>>(&entry);
      return module && detail::has_one_dimensional_layers(**module);
    });
  }
  void check_layouts(const Shapes& shapes, const detail::StageNames& names) const {
    if (!names.layout_is_found && !detail::has_one_dimensional_layers(*this)) return;
    const std::size_t first = embed_part_.empty() ? 1 : 0;  // h_0 is then the input, which no credit is for
    for (auto l = first; l < shapes.size(); ++l)
      layouts_.check_said(static_cast<std::int64_t>(l), shapes[l], own_name(), names.set_layout);
  }

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
      detail::fail(own_name(),
                   ": clone() makes the copy from options, which the class does not have; derive it from "
                   "BlockModule<",
                   own_name(), "Impl, Options>, or override clone(device), by clone_of.");
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
    detail::fail(own_name(), ": a ", detail::model_name(typeid(other)), " cannot be copied into a ",
                 detail::model_name(typeid(mine)), " as a part of a larger module.");
  }

  Options options_ = {};
  Part embed_part_, readout_part_;
  std::vector<Block> block_parts_;
  torch::nn::ModuleList block_list_ = nullptr;
  Shapes hidden_shapes_;
  std::int64_t classes_ = 0;
  std::vector<std::int64_t> logits_shape_;
  bool any_positions_ = false;
  detail::Layouts layouts_;
};

}  // namespace creditlib
