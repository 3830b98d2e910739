// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <algorithm>
#include <creditlib/credit/detail/head_layers.hpp>
#include <creditlib/credit/local_heads.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/error.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace creditlib {

namespace detail {

/// Layers that keep the hidden state's shape, and a class score from what they give.
class AuxiliaryNetImpl : public torch::nn::Module {
 public:
  AuxiliaryNetImpl(const HeadInput& input, std::int64_t depth, bool batch_norm)
      : scores(
            register_module("scores", ClassScores(HeadView("DecoupledGreedy", input, grid_of_two(input)), input.classes,
                                                  /*with_bias=*/true))),
        layout_(input.layout) {
    for (std::int64_t i = 0; i < depth; ++i) {
      const auto place = std::to_string(i);
      layers.push_back(register_module("layer" + place, SameShapeLayer(input)));
      if (!batch_norm) continue;
      scales.push_back(register_parameter("scale" + place, torch::ones({input.features()})));
      shifts.push_back(register_parameter("shift" + place, torch::zeros({input.features()})));
    }
  }

  torch::Tensor forward(torch::Tensor h) const {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      h = layers[i]->forward(h);
      if (!scales.empty()) h = normalized(h, i);
      h = h.relu();
    }
    return scores->forward(h);
  }

  std::vector<SameShapeLayer> layers = {};
  std::vector<torch::Tensor> scales = {}, shifts = {};
  ClassScores scores;

 private:
  /// BatchNorm in train mode: there is no other, since heads see training batches alone.
  torch::Tensor normalized(const torch::Tensor& h, std::size_t i) const {
    const auto map = features_first(h, layout_);
    if (map.numel() <= map.size(1)) {
      fail(
          "DecoupledGreedy: BatchNorm in its heads needs more than one value per feature, but this batch gives it one; "
          "use a larger batch, or .batch_norm = false.");
    }
    const auto unit = at::batch_norm(map, scales[i], shifts[i], {}, {}, /*training=*/true, /*momentum=*/0,
                                     /*eps=*/1e-5, /*cudnn_enabled=*/true);
    return map.is_same(h) ? unit : unit.movedim(1, -1);
  }

  /// Two cells in each direction, or the positions themselves where they are fewer.
  static std::vector<std::int64_t> grid_of_two(const HeadInput& input) {
    auto grid = positions_of(input.shape, input.layout);
    for (auto& size : grid) size = size < 0 ? 2 : std::min<std::int64_t>(size, 2);
    return grid;
  }

  HiddenLayout layout_;
};
TORCH_MODULE(AuxiliaryNet);

/// The head of DecoupledGreedy.
struct AuxiliaryHead {
  static constexpr bool couples_samples = true, data_parallel = true, graphable = true;
  std::int64_t layers = 2;
  bool batch_norm = true;

  AuxiliaryNet module(const HeadInput& input) const {
    if (batch_norm && layers > 0 && input.group->size() > 1) {
      fail(
          "DecoupledGreedy: BatchNorm in its heads would normalize the rows of each process with their own statistics; "
          "use .batch_norm = false, or train in one process.");
    }
    return AuxiliaryNet(input, layers, batch_norm);
  }
  torch::Tensor loss(AuxiliaryNet& net, const torch::Tensor& h, const Trace& trace) const {
    return trace.loss(net->forward(h));
  }
};

}  // namespace detail

/// Decoupled greedy learning: each hidden state but the last has an auxiliary net that predicts the class, and is
/// trained with the gradient of its loss; the last block is trained with the network's own loss.
///
///     a_l = d/dh_l sum_b CE(net_l(h_l), y_b),  l < L,    a_L = dloss_i/dh_L
///
/// net_l: `layers` times a layer that keeps the shape of h_l (a convolution of kernel 3 on maps, otherwise a linear
/// layer), BatchNorm and ReLU; the mean over two cells of positions in each direction; a linear layer to the classes.
///
/// - Shapes: a_l has the shape of h_l. The loss is the trainer's objective; logits with positions get one output per
///   class at each position.
/// - Cost: `layers` + 1 layers per hidden state, forward and backward: on wide layers more than the network itself.
/// - Reads the hidden states and the target, and at h_L the readout.
/// - BatchNorm makes a sample's credit depend on the rest of its batch, so that several processes, each with rows of its
///   own, cannot train it. The nets see training batches alone, so that it
///   has no running statistics.
/// - Throws Error at bind for an invalid option, and for logits with other positions than h_l's; at the first step for a
///   batch that gives BatchNorm one value per feature.
/// - Source: Belilovsky, Eickenberg, Oyallon, "Decoupled greedy learning of CNNs", ICML 2020.
struct DecoupledGreedy {
  using Normalizer = Raw;
  using State = LocalHeads<detail::AuxiliaryHead>::State;

  std::int64_t layers = 2;  ///< hidden layers of each auxiliary net; 0 is a linear layer alone
  bool batch_norm = true;
  double lr = 5e-4;  ///< learning rate of the nets' AdamW
  double weight_decay = 0;

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    detail::expect::at_least("DecoupledGreedy", "layers", layers, 0);
    detail::expect::not_negative("DecoupledGreedy", "lr", lr);
    detail::expect::not_negative("DecoupledGreedy", "weight_decay", weight_decay);
    return LocalHeads<detail::AuxiliaryHead>{.head = {.layers = layers, .batch_norm = batch_norm},
                                             .lr = lr,
                                             .weight_decay = weight_decay,
                                             .last_from_readout = true}
        .bind(model, context);
  }
};

}  // namespace creditlib
