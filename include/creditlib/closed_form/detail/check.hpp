// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/closed_form/network.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace creditlib::detail {

/// Throws Error unless a model's layers form `blocks` blocks, fit together from its input to its `classes` logits, and
/// have `parameters` as their trainable tensors, each in one layer: gradients by formula are written once per
/// parameter.
class ClosedFormCheck {
 public:
  ClosedFormCheck(const closed_form::Network& network, const std::vector<torch::Tensor>& parameters,
                  std::int64_t blocks, std::int64_t classes) {
    if (network.blocks.size() != static_cast<std::size_t>(blocks))
      fail("there are ", network.blocks.size(), " blocks, and blocks() is ", blocks);
    for (const auto& parameter : parameters) known_.insert(parameter.unsafeGetTensorImpl());
    walk("the embed", network.embed);
    for (std::size_t l = 0; l < network.blocks.size(); ++l) {
      const auto name = "block " + std::to_string(l);
      const auto before = width_;
      walk(name, network.blocks[l]);
      if (network.residual && before && width_ != before)
        fail(name, " takes ", *before, " numbers per sample and gives ", *width_, ", and is to be added to its input");
    }
    walk("the readout", network.readout);
    if (width_ && *width_ != classes)
      fail("the readout gives ", *width_, " numbers per sample, and classes() is ", classes);
  }

 private:
  template <class... Parts>
  [[noreturn]] static void fail(const Parts&... parts) {
    detail::fail("closed_form(): ", parts..., "; fix it, or return std::nullopt to use autograd.");
  }

  void walk(const std::string& where, const closed_form::Stage& stage) {
    for (const auto& layer : stage) {
      if (const auto* linear = std::get_if<closed_form::Linear>(&layer)) {
        if (!linear->weight.defined() || linear->weight.dim() != 2)
          fail("a linear layer of ", where, " has the weight ", detail::tensor_text(linear->weight),
               ", expected (out, in)");
        check_input_width(where, linear->weight.size(1));
        width_ = linear->weight.size(0);
        if (linear->bias.defined()) check_vector(where, linear->bias);
        use(where, linear->weight);
        use(where, linear->bias);
      } else if (const auto* norm = std::get_if<closed_form::LayerNorm>(&layer)) {
        if (norm->weight.defined() != norm->bias.defined())
          fail("a layer norm of ", where, " has a weight or a bias alone, expected both or none");
        if (!norm->weight.defined()) continue;
        check_input_width(where, norm->weight.numel());
        check_vector(where, norm->weight);
        check_vector(where, norm->bias);
        use(where, norm->weight);
        use(where, norm->bias);
      }
    }
  }

  void check_input_width(const std::string& where, std::int64_t takes) {
    if (width_ && *width_ != takes)
      fail("a layer of ", where, " takes ", takes, " numbers per sample, and gets ", *width_);
    width_ = takes;
  }

  void check_vector(const std::string& where, const torch::Tensor& t) const {
    if (t.dim() != 1 || t.size(0) != *width_)
      fail("a layer of ", where, " has a vector of ", detail::shape_text(t.sizes()), ", expected (", *width_, ")");
  }

  void use(const std::string& where, const torch::Tensor& t) {
    if (!t.defined()) return;
    const bool known = known_.contains(t.unsafeGetTensorImpl());
    if (!known && t.requires_grad())
      fail("a layer of ", where, " has a trainable tensor that is none of the model's parameters");
    if (known && !used_.insert(t.unsafeGetTensorImpl()).second)
      fail("a layer of ", where, " has a parameter that another layer has too");
  }

  std::set<const void*> known_, used_;
  std::optional<std::int64_t> width_;
};

}  // namespace creditlib::detail
