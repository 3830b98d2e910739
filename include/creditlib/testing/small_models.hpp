// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/testing/model_case.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

/// The small models that check_laws asks a rule on if it is given no others: of several forms, with 4 classes and
/// labels as targets; no two of their sizes agree by chance.
namespace creditlib::testing {

inline constexpr std::int64_t small_classes = 4;

}  // namespace creditlib::testing

namespace creditlib::detail::laws {

/// Weights that are not near 0, so that every part of the network matters.
template <class Model>
Model lively(Model model) {
  const torch::NoGradGuard no_grad;
  for (auto& parameter : model->parameters()) parameter.add_(torch::randn_like(parameter), 0.3);
  return model;
}

/// Batches of inputs of these sizes, and labels.
inline auto labeled(std::vector<std::int64_t> sizes) {
  return [sizes = std::move(sizes)](std::int64_t size) {
    auto shape = sizes;
    shape.insert(shape.begin(), size);
    const auto x = torch::randn(shape);
    return testing::Batch{x, torch::randint(testing::small_classes, {size})};
  };
}

inline testing::ModelCase<SequentialBlocks> stages(std::string name, std::vector<std::int64_t> sizes,
                                                   SequentialBlocksOptions (*options)()) {
  auto one = sizes;
  one.insert(one.begin(), 1);
  return {.name = std::move(name),
          .make =
              [options, one] {
                auto given = options();
                given.example = torch::zeros(one);
                return lively(SequentialBlocks(given));
              },
          .batch = labeled(std::move(sizes))};
}

}  // namespace creditlib::detail::laws

namespace creditlib::testing {

/// "residual_mlp": a ResidualMLP of width 5 and three blocks, for inputs (B, 6).
inline ModelCase<ResidualMLP> small_residual_mlp() {
  return {
      .name = "residual_mlp",
      .make =
          [] {
            return detail::laws::lively(ResidualMLP({.input = 6, .width = 5, .classes = small_classes, .blocks = 3}));
          },
      .batch = detail::laws::labeled({6})};
}

/// SequentialBlocks of other forms.
///
/// - "plain": linear stages of widths 5, 5, 8, 3; f replaces h.
/// - "batch_norm": with BatchNorm1d in embed, blocks and readout.
/// - "dropout": with Dropout in embed, blocks and readout; residual.
/// - "conv": (B, C, H, W), with BatchNorm2d, a stride, and a flattening readout.
/// - "sequence": (B, C, T), with BatchNorm1d, a stride, and a flattening readout.
/// - "tokens": (B, N, d), residual.
/// - "no_embed": blocks that read the input itself.
inline std::vector<ModelCase<SequentialBlocks>> small_sequential_blocks() {
  using namespace torch::nn;
  using Options = SequentialBlocksOptions;
  using detail::laws::stages;
  return {
      stages("plain", {6},
             [] {
               return Options{.embed = Sequential(Linear(6, 5)),
                              .blocks = {Sequential(Linear(5, 5), Tanh()), Sequential(Linear(5, 8), GELU()),
                                         Sequential(Linear(8, 3), Tanh())},
                              .readout = Sequential(Linear(3, small_classes))};
             }),
      stages("batch_norm", {6},
             [] {
               return Options{.embed = Sequential(Linear(6, 5), BatchNorm1d(5)),
                              .blocks = {Sequential(Linear(5, 8), BatchNorm1d(8), ReLU()),
                                         Sequential(Linear(8, 3), BatchNorm1d(3), GELU())},
                              .readout = Sequential(BatchNorm1d(3), Linear(3, small_classes))};
             }),
      stages("dropout", {6},
             [] {
               return Options{.embed = Sequential(Linear(6, 5), Dropout(0.2)),
                              .blocks = {Sequential(Linear(5, 5), GELU(), Dropout(0.4)),
                                         Sequential(Linear(5, 5), Dropout(0.4), GELU())},
                              .readout = Sequential(Dropout(0.2), Linear(5, small_classes)),
                              .residual = true};
             }),
      stages("conv", {2, 6, 6},
             [] {
               return Options{.embed = Sequential(Conv2d(Conv2dOptions(2, 3, 3).padding(1))),
                              .blocks = {Sequential(Conv2d(Conv2dOptions(3, 5, 3).padding(1)), BatchNorm2d(5), ReLU()),
                                         Sequential(Conv2d(Conv2dOptions(5, 4, 3).padding(1).stride(2)), GELU())},
                              .readout = Sequential(Flatten(), Linear(4 * 3 * 3, small_classes))};
             }),
      stages("sequence", {2, 6},
             [] {
               return Options{.embed = Sequential(Conv1d(Conv1dOptions(2, 3, 3).padding(1))),
                              .blocks = {Sequential(Conv1d(Conv1dOptions(3, 5, 3).padding(1)), BatchNorm1d(5), Tanh()),
                                         Sequential(Conv1d(Conv1dOptions(5, 4, 3).padding(1).stride(2)), GELU())},
                              .readout = Sequential(Flatten(), Linear(4 * 3, small_classes))};
             }),
      stages("tokens", {4, 6},
             [] {
               return Options{.embed = Sequential(Linear(6, 5)),
                              .blocks = {Sequential(LayerNorm(LayerNormOptions({5})), Linear(5, 5), GELU()),
                                         Sequential(Linear(5, 5), GELU())},
                              .readout = Sequential(Flatten(), Linear(4 * 5, small_classes)),
                              .residual = true};
             }),
      stages("no_embed", {6}, [] {
        return Options{.blocks = {Sequential(Linear(6, 5), GELU()), Sequential(Linear(5, 8), GELU())},
                       .readout = Sequential(Linear(8, small_classes))};
      })};
}

}  // namespace creditlib::testing
