// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <creditlib/error.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <initializer_list>
#include <string>
#include <vector>

#include "test.hpp"

/// Small models and batches for them, the same numbers at every call.
namespace creditlib::test {

struct Batch {
  torch::Tensor x, y;
};

/// Models of several forms. All but conv have inputs of 6 and 4 classes; no two of their sizes agree by chance.
enum class Kind {
  residual_mlp,  ///< ResidualMLP, width 5, three blocks
  plain,         ///< linear stages of widths 5, 5, 8, 3; f replaces h
  batch_norm,    ///< with BatchNorm1d in embed, blocks and readout
  dropout,       ///< with Dropout in embed, blocks and readout; residual
  conv,          ///< (B, C, H, W), with BatchNorm2d, a stride, and a flattening readout
  tokens,        ///< (B, N, d), residual
  no_embed       ///< blocks that read the input itself
};
inline const std::vector<Kind> every_kind{Kind::residual_mlp, Kind::plain,  Kind::batch_norm, Kind::dropout,
                                          Kind::conv,         Kind::tokens, Kind::no_embed};

inline std::string name(Kind kind) {
  switch (kind) {
    case Kind::residual_mlp: return "residual_mlp";
    case Kind::plain: return "plain";
    case Kind::batch_norm: return "batch_norm";
    case Kind::dropout: return "dropout";
    case Kind::conv: return "conv";
    case Kind::tokens: return "tokens";
    case Kind::no_embed: return "no_embed";
  }
  return "?";
}

/// Whether a sample's hidden states depend on the other samples of its batch.
inline bool mixes_samples(Kind kind) { return kind == Kind::batch_norm || kind == Kind::conv; }

/// Whether a step can be computed by formula.
inline bool has_closed_form(Kind kind) {
  return kind == Kind::residual_mlp || kind == Kind::plain || kind == Kind::no_embed;
}

inline constexpr std::int64_t small_classes = 4;

inline Batch batch_for(Kind kind, torch::Dtype dtype = torch::kFloat32, std::int64_t size = 7,
                       std::uint64_t seed = 11) {
  torch::manual_seed(seed);
  std::vector<std::int64_t> sizes{size, 6};
  if (kind == Kind::conv) sizes = {size, 2, 6, 6};
  if (kind == Kind::tokens) sizes = {size, 4, 6};
  const auto x = torch::randn(sizes).to(dtype);
  return {x, torch::randint(small_classes, {size})};
}

/// Weights that are not near 0, so that every part of the network matters.
template <class Model>
Model lively(Model model, torch::Dtype dtype) {
  const torch::NoGradGuard no_grad;
  for (auto& parameter : model->parameters()) parameter.add_(torch::randn_like(parameter), 0.3);
  model->to(dtype);
  return model;
}

inline ResidualMLP residual_mlp(torch::Dtype dtype = torch::kFloat32, std::uint64_t weights_seed = 1) {
  torch::manual_seed(weights_seed);
  return lively(ResidualMLP({.input = 6, .width = 5, .classes = small_classes, .blocks = 3}), dtype);
}

inline SequentialBlocks stages(Kind kind, torch::Dtype dtype = torch::kFloat32, std::uint64_t weights_seed = 1) {
  using namespace torch::nn;
  torch::manual_seed(weights_seed);
  const auto make = [&](const SequentialBlocksOptions& options) { return lively(SequentialBlocks(options), dtype); };
  switch (kind) {
    case Kind::batch_norm:
      return make({.embed = Sequential(Linear(6, 5), BatchNorm1d(5)),
                   .blocks = {Sequential(Linear(5, 8), BatchNorm1d(8), ReLU()),
                              Sequential(Linear(8, 3), BatchNorm1d(3), GELU())},
                   .readout = Sequential(BatchNorm1d(3), Linear(3, small_classes)),
                   .example = torch::zeros({1, 6})});
    case Kind::dropout:
      return make(
          {.embed = Sequential(Linear(6, 5), Dropout(0.2)),
           .blocks = {Sequential(Linear(5, 5), GELU(), Dropout(0.4)), Sequential(Linear(5, 5), Dropout(0.4), GELU())},
           .readout = Sequential(Dropout(0.2), Linear(5, small_classes)),
           .residual = true,
           .example = torch::zeros({1, 6})});
    case Kind::conv:
      return make({.embed = Sequential(Conv2d(Conv2dOptions(2, 3, 3).padding(1))),
                   .blocks = {Sequential(Conv2d(Conv2dOptions(3, 5, 3).padding(1)), BatchNorm2d(5), ReLU()),
                              Sequential(Conv2d(Conv2dOptions(5, 4, 3).padding(1).stride(2)), GELU())},
                   .readout = Sequential(Flatten(), Linear(4 * 3 * 3, small_classes)),
                   .example = torch::zeros({1, 2, 6, 6})});
    case Kind::tokens:
      return make({.embed = Sequential(Linear(6, 5)),
                   .blocks = {Sequential(LayerNorm(LayerNormOptions({5})), Linear(5, 5), GELU()),
                              Sequential(Linear(5, 5), GELU())},
                   .readout = Sequential(Flatten(), Linear(4 * 5, small_classes)),
                   .residual = true,
                   .example = torch::zeros({1, 4, 6})});
    case Kind::no_embed:
      return make({.blocks = {Sequential(Linear(6, 5), GELU()), Sequential(Linear(5, 8), GELU())},
                   .readout = Sequential(Linear(8, small_classes)),
                   .example = torch::zeros({1, 6})});
    default:
      return make({.embed = Sequential(Linear(6, 5)),
                   .blocks = {Sequential(Linear(5, 5), Tanh()), Sequential(Linear(5, 8), GELU()),
                              Sequential(Linear(8, 3), Tanh())},
                   .readout = Sequential(Linear(3, small_classes)),
                   .example = torch::zeros({1, 6})});
  }
}

inline ResidualMLP small_model(torch::Dtype dtype = torch::kFloat32) { return residual_mlp(dtype); }
inline Batch small_batch(torch::Dtype dtype = torch::kFloat32) { return batch_for(Kind::residual_mlp, dtype); }

/// Whether two lists hold the same tensors, to the bit; undefined ones are the same as undefined ones.
inline bool same(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].defined() != b[i].defined()) return false;
    if (a[i].defined() && (a[i].scalar_type() != b[i].scalar_type() || !torch::equal(a[i], b[i]))) return false;
  }
  return true;
}

/// How far apart two tensors are, relative to the larger norm of the two or, where that is more, to `least`; infinite
/// where one is undefined alone, the shapes differ, or a number is not finite.
inline double distance(const torch::Tensor& a, const torch::Tensor& b, double least = 0) {
  if (!a.defined() && !b.defined()) return 0;
  if (a.defined() != b.defined() || a.sizes() != b.sizes()) return INFINITY;
  const auto x = a.detach().to(torch::kFloat64), y = b.detach().to(torch::kFloat64);
  const double scale = std::max({x.norm().item<double>(), y.norm().item<double>(), least});
  const double between = (x - y).norm().item<double>();
  if (!std::isfinite(between)) return INFINITY;
  return between == 0 ? 0 : between / scale;
}

/// The largest distance in two lists. A tensor far smaller than the largest counts as a thousandth of it: the gradient
/// of a bias before BatchNorm is 0 but for rounding.
inline double distance(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0, most = 0;
  for (const auto& tensor : b) {
    if (tensor.defined()) largest = std::max(largest, tensor.detach().norm().item<double>());
  }
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, distance(a[i], b[i], largest / 1000));
  return most;
}

inline std::vector<torch::Tensor> copies(const std::vector<torch::Tensor>& tensors) {
  std::vector<torch::Tensor> copied;
  for (const auto& tensor : tensors) copied.push_back(tensor.defined() ? tensor.detach().clone() : tensor);
  return copied;
}

/// What the parameters' .grad hold.
inline std::vector<torch::Tensor> gradients_of(torch::nn::Module& module) {
  std::vector<torch::Tensor> gradients;
  for (const auto& parameter : module.parameters()) gradients.push_back(parameter.grad());
  return copies(gradients);
}

inline torch::Tensor global_generator_state() { return at::globalContext().defaultGenerator(torch::kCPU).get_state(); }

/// The message of the creditlib::Error that `action` throws; other exceptions, and none, are said in words.
template <class Action>
std::string error_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("(another exception) ") + error.what();
  }
  return "(nothing was thrown)";
}

/// Whether the message is one line and holds every part.
inline bool says(const std::string& message, std::initializer_list<std::string> parts) {
  UNSCOPED_INFO(message);  // shown where the check fails
  if (message.find('\n') != std::string::npos) return false;
  for (const auto& part : parts) {
    if (message.find(part) == std::string::npos) return false;
  }
  return true;
}

}  // namespace creditlib::test
