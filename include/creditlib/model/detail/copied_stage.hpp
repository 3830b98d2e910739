// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/util/Exception.h>
#include <torch/nn/modules/container/any.h>
#include <torch/nn/modules/container/sequential.h>

#include <creditlib/error.hpp>
#include <creditlib/model/detail/copied_state.hpp>
#include <creditlib/model/stage.hpp>
#include <cstddef>
#include <map>
#include <string>
#include <typeinfo>
#include <utility>

namespace creditlib::detail {

/// The copies of layers, by the layers: what stands in several places is copied once.
using CopiedLayers = std::map<const void*, torch::nn::AnyModule>;

/// A stage's deep copy. torch::nn::Sequential's own forgets the layers' names. Throws Error, with `where` the stage is,
/// for a layer that does not copy itself.
inline Stage copied_stage(const Stage& stage, const std::string& where, CopiedLayers& copies) {
  torch::nn::Sequential copy;
  auto names = stage->named_children().keys();
  for (std::size_t i = 0; i < stage->size(); ++i) {
    const auto& layer = *(stage->begin() + static_cast<std::ptrdiff_t>(i));
    const torch::nn::Module& original = *layer.ptr();
    torch::nn::AnyModule copied;
    if (const auto known = copies.find(&original); known != copies.end()) {
      copy->push_back(std::move(names[i]), torch::nn::AnyModule(known->second));
      continue;
    }
    try {
      copied = layer.clone();
    } catch (const c10::Error& error) {
      if (is_out_of_memory(error)) throw;  // otherwise the class has no clone()
    }
    // A subclass that inherits its base's clone() is copied as that base, or as null.
    const auto made = copied.is_empty() ? nullptr : copied.ptr();
    const auto* same = made.get();
    if (!same || typeid(*same) != typeid(original)) {
      fail("SequentialBlocks: layer ", names[i], " (", model_name(typeid(original)), ") of ", where,
           " cannot be cloned; derive its class from torch::nn::Cloneable, or override clone().");
    }
    copies.emplace(&original, copied);
    copy->push_back(std::move(names[i]), std::move(copied));
  }
  return stage.is_one_module() ? Stage(*copy->begin()) : Stage(copy);
}

}  // namespace creditlib::detail
