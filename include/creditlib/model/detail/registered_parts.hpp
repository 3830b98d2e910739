// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/types.h>

#include <algorithm>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/model/detail/copied_state.hpp>
#include <creditlib/model/detail/found_layout.hpp>
#include <creditlib/model/detail/held_module.hpp>
#include <creditlib/parameter_parts.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

namespace creditlib::detail {

/// The parts of a network, embed, blocks and readout: what is registered for each, and its parameters.
class RegisteredParts : public torch::nn::Module {
 public:
  /// L.
  std::int64_t blocks() const { return static_cast<std::int64_t>(block_parts_.size()); }

  /// All parameters, each once, where LibTorch's lists one that several layers share several times: what an optimizer
  /// updates, in the order of a trainer's gradients(). named_parameters() is LibTorch's and names all places.
  std::vector<torch::Tensor> parameters(bool recurse = true) const { return distinct_parameters(*this, recurse); }
  // The parameters of each part, in the order of registration.
  std::vector<torch::Tensor> embed_parameters() const { return parameters_of(embed_part_); }
  std::vector<torch::Tensor> block_parameters(std::int64_t l) const {
    return parameters_of(block_parts_[checked(l)].entries);
  }
  std::vector<torch::Tensor> readout_parameters() const { return parameters_of(readout_part_); }

 protected:
  // ---- For a network's constructor ----

  // Each registers a module (a holder, a std::shared_ptr or an AnyModule) or a parameter under a name, as register_module and
  // register_parameter do, and notes the part that it belongs to. A part may have several. They return the module's
  // pointer, or the parameter.

  template <HeldModule Held>
  auto register_embed(const std::string& name, const Held& module) {
    return registered(embed_part_, name, module);
  }
  torch::Tensor register_embed(const std::string& name, const torch::Tensor& parameter, bool requires_grad = true) {
    return registered(embed_part_, name, parameter, requires_grad);
  }
  template <HeldModule Held>
  auto register_readout(const std::string& name, const Held& module) {
    return registered(readout_part_, name, module);
  }
  torch::Tensor register_readout(const std::string& name, const torch::Tensor& parameter, bool requires_grad = true) {
    return registered(readout_part_, name, parameter, requires_grad);
  }

  /// The next block, named "blocks.<l>". If the module has a forward(h), the block is run by it.
  template <HeldModule Held>
  auto register_block(const Held& module) {
    const auto pointer = checked_module("blocks." + std::to_string(blocks()), module);
    if (const auto* layers = pointer->template as<torch::nn::SequentialImpl>()) {
      refuse_tuples(*layers, own_name(), "block " + std::to_string(blocks()));
    }
    if (block_list_ ? block_list_->size() != block_parts_.size() : !block_parts_.empty()) {
      fail(own_name(), ": block ", blocks(),
           " has no name, but earlier blocks have; give every block a name, or none.");
    }
    translated([&] {
      if (!block_list_) block_list_ = this->register_module("blocks", torch::nn::ModuleList());
      block_list_->push_back(std::shared_ptr<torch::nn::Module>(pointer));
    });
    auto& block = block_parts_.emplace_back();
    block.entries.emplace_back(std::shared_ptr<torch::nn::Module>(pointer));
    block.forward = forward_of(module);
    return pointer;
  }
  /// A layer of block l under a name of your own; l is a block that is there, or the next one. Derived runs it.
  template <HeldModule Held>
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

  // ---- What was registered ----

  std::string own_name() const { return model_name(typeid(*this)); }
  /// From now on nothing is registered.
  void close() { closed_ = true; }
  void check_open(const std::string& name) const {
    if (closed_) {
      fail(own_name(), ": \"", name, "\" is registered after the shapes were set; register everything first.");
    }
  }
  bool has_embed() const { return !embed_part_.empty(); }
  /// The forward(h) of block l's module; empty if the block is not one module that has one.
  const Forward& forward_of_block(std::int64_t l) const { return block_parts_[checked(l)].forward; }
  /// Whether a module of the readout satisfies `condition`.
  template <class Condition>
  bool any_in_readout(const Condition& condition) const {
    return std::any_of(readout_part_.begin(), readout_part_.end(), [&](const auto& entry) {
      const auto* module = std::get_if<std::shared_ptr<torch::nn::Module>>(&entry);
      return module && condition(**module);
    });
  }

 private:
  using Part = std::vector<std::variant<std::shared_ptr<torch::nn::Module>, torch::Tensor>>;
  struct Block {
    Part entries;
    Forward forward;
  };

  std::size_t checked(std::int64_t l) const {
    if (l < 0 || l >= blocks()) {
      fail(own_name(), ": there is no block ", l, ", expected ",
           block_parts_.empty() ? "none" : "0.." + std::to_string(blocks() - 1), ".");
    }
    return static_cast<std::size_t>(l);
  }

  template <class Held>
  auto checked_module(const std::string& name, const Held& module) const {
    auto pointer = module_of(module);
    if (!pointer) fail(own_name(), ": \"", name, "\" is registered as an empty module.");
    check_open(name);
    return pointer;
  }
  template <class Held>
  auto registered(Part& part, const std::string& name, const Held& module) {
    auto pointer = checked_module(name, module);
    translated([&] { this->register_module(name, pointer); });
    part.emplace_back(std::shared_ptr<torch::nn::Module>(pointer));
    return pointer;
  }
  torch::Tensor registered(Part& part, const std::string& name, const torch::Tensor& parameter, bool requires_grad) {
    if (!parameter.defined()) fail(own_name(), ": \"", name, "\" is registered as an undefined tensor.");
    check_open(name);
    auto kept = translated([&] { return this->register_parameter(name, parameter, requires_grad); });
    part.emplace_back(kept);
    return kept;
  }
  Part& entries_of(std::int64_t l, const std::string& name) {
    if (l < 0 || l > blocks()) {
      fail(own_name(), ": \"", name, "\" is registered for block ", l, ", but there are ", blocks(),
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

  Part embed_part_, readout_part_;
  std::vector<Block> block_parts_;
  torch::nn::ModuleList block_list_ = nullptr;
  bool closed_ = false;
};

}  // namespace creditlib::detail
