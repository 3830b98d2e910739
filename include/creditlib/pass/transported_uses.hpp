// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <creditlib/concepts.hpp>
#include <creditlib/detail/autocast.hpp>
#include <creditlib/error.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/pass/parts_at_batch.hpp>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// Says where the graph of a part of a network uses parameters so that feedback in their storage (ExchangedStorages)
/// would give a wrong gradient. A parameter, or a view of it, may be multiplied with activations, be added to them or be
/// put beside them: its own gradient then has nothing of itself, and the way down reads it alone. Of a copy (a mask, a
/// norm, a cast) the way down would read the copy, and of a function that is not linear in it its own gradient would
/// read the feedback. What is computed without a graph (under a NoGradGuard) it does not see.
class TransportedUses {
 public:
  using Node = torch::autograd::Node;

  /// `replaced`: the parameters that have feedback, with their names.
  explicit TransportedUses(const NamedTensors& replaced) {
    for (const auto& [name, parameter] : replaced) names_.emplace(parameter.unsafeGetTensorImpl(), name);
  }

  /// Throws Error for the first such use in the graph of `output`. `input` is the leaf that the activations come from; to
  /// that of the lowest part, the embed, no credit goes. In a graph without it, of an embed on integers, a constant that
  /// a matrix is multiplied with is taken for activations.
  void check(const std::string& part, const torch::Tensor& output, const torch::Tensor& input, bool lowest) {
    if (names_.empty() || !output.defined() || !output.grad_fn()) return;
    const auto nodes = graph_of(output);
    const auto is_input = [&](Node* node) { return leaf_of(*node) == input.unsafeGetTensorImpl(); };
    input_ = std::any_of(nodes.begin(), nodes.end(), is_input) ? input.unsafeGetTensorImpl() : nullptr;
    lowest_ = lowest;
    found_.clear();
    for (auto* const node : nodes) found_.emplace(node, looked_at(*node, part));
  }

 private:
  struct Found {
    const std::string* weight = nullptr;  ///< the parameter with feedback that the output is a view of, or linear in
    bool view = true;                     ///< rather than a product with constants
    bool parameter = false;               ///< whether the output is made of parameters and constants alone
    bool reaches_input = false;
  };

  /// The nodes of a graph, each behind those that its own gradients go to.
  static std::vector<Node*> graph_of(const torch::Tensor& output) {
    std::vector<Node*> nodes, open{output.grad_fn().get()};
    std::set<Node*> listed;
    while (!open.empty()) {
      auto* const node = open.back();
      const auto before = open.size();
      for (const auto& edge : node->next_edges()) {
        if (!listed.contains(node) && edge.is_valid() && !listed.contains(edge.function.get())) {
          open.push_back(edge.function.get());
        }
      }
      if (open.size() > before) continue;
      open.pop_back();
      if (listed.insert(node).second) nodes.push_back(node);
    }
    return nodes;
  }

  /// The tensor whose gradient a node accumulates, or null.
  static const void* leaf_of(Node& node) {
    const auto* leaf = dynamic_cast<torch::autograd::AccumulateGrad*>(&node);
    return leaf == nullptr ? nullptr : leaf->variable.unsafeGetTensorImpl();
  }

  Found looked_at(Node& node, const std::string& part) const {
    if (const auto* const tensor = leaf_of(node)) {
      if (tensor == input_) return {.reaches_input = true};
      const auto name = names_.find(tensor);
      return {.weight = name == names_.end() ? nullptr : &name->second, .parameter = true};
    }
    const auto kind = kind_of(node);
    Found found;
    bool activations = false, constants = false, views_alone = true, parameters_alone = true;
    for (const auto& edge : node.next_edges()) {
      if (!edge.is_valid()) {
        constants = true;
        continue;
      }
      const auto& below = found_.at(edge.function.get());
      if (is_one_of(views, kind)) return below;
      found.reaches_input = found.reaches_input || below.reaches_input;
      activations = activations || (lowest_ ? !below.parameter : below.reaches_input);
      parameters_alone = parameters_alone && below.parameter;
      if (below.weight == nullptr) continue;
      found.weight = below.weight;
      views_alone = views_alone && below.view;
    }
    const bool could_be_input = constants && input_ == nullptr;
    if (found.weight == nullptr) {
      found.parameter = parameters_alone && !could_be_input;
      return found;
    }
    const bool in_matrix = is_one_of(products, kind), of_elements = is_one_of(of_each_element, kind);
    activations = activations || (could_be_input && in_matrix);
    if ((activations && (is_one_of(sums, kind) || of_elements || (in_matrix && views_alone))) ||
        (views_alone && is_one_of(tables, kind))) {
      found.weight = nullptr;
    } else if (constants && in_matrix && views_alone) {  // of a recurrent layer's first state, which is zero
      found.view = false;
      found.parameter = true;
    } else {
      fail("transport: ", part, " uses ", *found.weight, " in ", node.name(),
           ", not as a factor of activations, so the backward pass would not read the feedback in its place alone. "
           "Multiply activations with the parameter itself, or give it no feedback (an undefined tensor).");
    }
    return found;
  }

  /// "Addmm" of AddmmBackward0.
  static std::string kind_of(const Node& node) {
    const auto name = node.name();
    return name.substr(0, name.rfind("Backward"));
  }
  template <std::size_t count>
  static bool is_one_of(const std::array<std::string_view, count>& kinds, const std::string& kind) {
    return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
  }

  static constexpr auto views = std::to_array<std::string_view>(
      {"T", "Transpose", "Permute", "View", "UnsafeView", "ReshapeAlias", "Expand", "Squeeze", "Unsqueeze", "Slice",
       "Select", "Split", "Unbind", "Alias", "SplitWithSizes", "UnsafeSplit", "UnsafeSplitWithSizes", "AsStrided"});
  static constexpr auto products = std::to_array<std::string_view>(
      {// products
       "Addmm", "Mm", "Bmm", "Baddbmm", "Addbmm", "Addmv", "Mv", "Linear", "MkldnnLinear", "Trilinear",
       // convolutions
       "Convolution", "ConvolutionOverrideable", "MkldnnConvolution", "CudnnConvolution", "CudnnConvolutionTranspose",
       "SlowConvTranspose2D", "SlowConvTranspose3D", "NnpackSpatialConvolution", "MiopenConvolution",
       "MiopenDepthwiseConvolution",
       // gains of norms, PReLU's slope
       "NativeLayerNorm", "NativeBatchNorm", "NativeBatchNormLegit", "BatchNormWithUpdate", "CudnnBatchNorm",
       "MiopenBatchNorm", "NativeGroupNorm", "FusedRmsNorm", "PreluKernel",
       // recurrent layers in one operator
       "MkldnnRnnLayer", "CudnnRnn", "MiopenRnn"});
  /// Rows of the weight itself.
  static constexpr auto tables = std::to_array<std::string_view>({"Embedding", "EmbeddingBag"});
  static constexpr auto of_each_element = std::to_array<std::string_view>({"Mul", "Addcmul"});
  /// What is added to activations, or stands beside them.
  static constexpr auto sums = std::to_array<std::string_view>({"Add", "Sub", "Cat", "Stack", "Where"});

  std::map<const void*, std::string> names_;
  const void* input_ = nullptr;
  bool lowest_ = false;
  std::map<const Node*, Found> found_;
};

/// Throws Error for a parameter of those replaced, by name, that the network uses on this batch in another way. Its parts
/// are run once, with frozen parameters on the graph too: a copy of those the way down would read as well.
template <BlockModel Model>
void check_transported_uses(Model& model, const NamedTensors& replaced, const torch::Tensor& x, const PartRunner& run) {
  struct Thawed {
    std::vector<torch::Tensor> frozen = {};
    ~Thawed() {
      for (auto& parameter : frozen) parameter.set_requires_grad(false);
    }
  } thawed;
  for (const auto& [name, parameter] : replaced) {
    if (!parameter.requires_grad()) thawed.frozen.push_back(torch::Tensor(parameter).set_requires_grad(true));
  }
  TransportedUses uses(replaced);
  look_at_parts(model, x, run, [&](std::int64_t l, const torch::Tensor& output, const torch::Tensor& input) {
    uses.check(part_name(model, l), output, input, /*lowest=*/l < 0 || !input.requires_grad());
  });
}

}  // namespace creditlib::detail
