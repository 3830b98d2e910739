// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/pimpl.h>

#include <concepts>
#include <creditlib/closed_form/layer_of.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/scope/eval_mode.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace creditlib {

/// Your own stages as a network in blocks.
struct SequentialBlocksOptions {
  torch::nn::Sequential embed = {};                ///< optional; without it h_0 is the input itself
  std::vector<torch::nn::Sequential> blocks = {};  ///< block l's branch f_l
  torch::nn::Sequential readout = {};              ///< maps h_L to the logits (B, C)
  bool residual = false;                           ///< h_{l+1} = h_l + f_l instead of f_l
  torch::Tensor example = {};  ///< an input, (1, ...); it is run once, in eval mode, to find the shapes
};

class SequentialBlocksImpl : public torch::nn::Module {
 public:
  explicit SequentialBlocksImpl(const SequentialBlocksOptions& options)
      : embed_(options.embed), residual_(options.residual) {
    if (options.blocks.empty())
      detail::fail("SequentialBlocks: no blocks were given, expected at least one stage in .blocks.");
    if (!options.readout || options.readout->is_empty()) {
      detail::fail("SequentialBlocks: .readout is empty, expected a stage that gives the logits.");
    }
    if (!options.example.defined() || options.example.dim() == 0 || options.example.size(0) == 0) {
      detail::fail("SequentialBlocks: .example is ", detail::tensor_text(options.example),
                   ", expected an input such as torch::zeros({1, 64}).");
    }
    if (has_embed()) register_module("embed", embed_);
    blocks_ = register_module("blocks", torch::nn::ModuleList());
    for (std::size_t l = 0; l < options.blocks.size(); ++l) {
      if (!options.blocks[l] || options.blocks[l]->is_empty())
        detail::fail("SequentialBlocks: block ", l, " is empty, expected at least one layer.");
      blocks_->push_back(options.blocks[l]);
    }
    readout_ = register_module("readout", options.readout);
    detail::translated([&] { find_shapes(options.example); });
  }

  std::int64_t blocks() const { return static_cast<std::int64_t>(shapes_.size()) - 1; }
  std::int64_t classes() const { return classes_; }
  std::vector<std::int64_t> hidden_shape(std::int64_t l) const {
    if (l < 0 || l > blocks()) detail::fail("SequentialBlocks: there is no h_", l, ", expected 0..", blocks(), ".");
    return shapes_[static_cast<std::size_t>(l)];
  }

  torch::Tensor embed(const torch::Tensor& x) { return has_embed() ? embed_->forward(x) : x; }
  torch::Tensor block(std::int64_t l, const torch::Tensor& h) {
    return blocks_[static_cast<std::size_t>(l)]->as<torch::nn::SequentialImpl>()->forward(h);
  }
  torch::Tensor join(std::int64_t, const torch::Tensor& h, const torch::Tensor& f) { return residual_ ? h + f : f; }
  torch::Tensor readout(const torch::Tensor& h) { return readout_->forward(h); }
  /// The logits, (B, C).
  torch::Tensor forward(const torch::Tensor& x) {
    auto h = embed(x);
    for (std::int64_t l = 0; l < blocks(); ++l) h = join(l, h, block(l, h));
    return readout(h);
  }

  /// If all hidden states are (B, d) and all layers have a closed form (see closed_form::layer_of; the embed may begin
  /// with a Flatten), trainers compute gradients by formula; not for a subclass, whose blocks may differ.
  std::optional<closed_form::Network> closed_form() {
    if (!closed_form::exactly<SequentialBlocksImpl>(*this)) return std::nullopt;
    closed_form::Network network{.embed = {}, .blocks = {}, .readout = {}, .residual = residual_, .flatten = false};
    for (const auto& shape : shapes_) {
      if (shape.size() != 1) return std::nullopt;
    }
    const auto describe = [](const torch::nn::SequentialImpl& modules, closed_form::Stage& stage,
                             std::size_t first = 0) {
      auto found = closed_form::stage_of(modules, first);
      if (found) stage = std::move(*found);
      return found.has_value();
    };
    if (has_embed()) {
      network.flatten = closed_form::flattens_first(*embed_);
      if (!describe(*embed_, network.embed, network.flatten ? 1 : 0)) return std::nullopt;
    }
    for (std::size_t l = 0; l < blocks_->size(); ++l) {
      if (!describe(*blocks_[l]->as<torch::nn::SequentialImpl>(), network.blocks.emplace_back())) return std::nullopt;
    }
    if (!describe(*readout_, network.readout)) return std::nullopt;
    return network;
  }

  std::vector<torch::Tensor> embed_parameters() const {
    return has_embed() ? embed_->parameters() : std::vector<torch::Tensor>{};
  }
  std::vector<torch::Tensor> block_parameters(std::int64_t l) const {
    return blocks_->ptr(static_cast<std::size_t>(l))->parameters();
  }
  std::vector<torch::Tensor> readout_parameters() const { return readout_->parameters(); }

 private:
  bool has_embed() const { return embed_ && !embed_->is_empty(); }

  void find_shapes(const torch::Tensor& example) {
    const torch::NoGradGuard no_grad;
    const diagnostics::EvalMode eval(*this);
    const auto sizes = [&](const torch::Tensor& h) {
      shapes_.emplace_back(h.sizes().begin() + 1, h.sizes().end());
      return h;
    };
    const auto run = [&](const std::string& stage, const torch::Tensor& input, const auto& action) -> torch::Tensor {
      try {
        return action();
      } catch (const c10::Error& error) {
        detail::fail("SequentialBlocks: ", stage, " cannot take the input ", detail::shape_text(input.sizes()),
                     " that results from the example: ", error.what_without_backtrace());
      }
    };
    auto h = sizes(run(".embed", example, [&] { return embed(example); }));
    for (std::size_t l = 0; l < blocks_->size(); ++l) {
      const auto at = static_cast<std::int64_t>(l);
      const auto f = run("block " + std::to_string(l), h, [&] { return block(at, h); });
      if (residual_ && f.sizes() != h.sizes()) {
        detail::fail("SequentialBlocks: block ", l, " turns ", detail::shape_text(h.sizes()), " into ",
                     detail::shape_text(f.sizes()),
                     ", but with .residual = true its output is added to its input and must have the same shape.");
      }
      h = sizes(join(at, h, f));
    }
    const auto logits = run(".readout", h, [&] { return readout(h); });
    if (logits.dim() != 2) {
      detail::fail("SequentialBlocks: the readout gives ", detail::shape_text(logits.sizes()),
                   ", expected logits (B, classes).");
    }
    classes_ = logits.size(1);
  }

  torch::nn::Sequential embed_ = nullptr;
  torch::nn::ModuleList blocks_ = nullptr;
  torch::nn::Sequential readout_ = nullptr;
  bool residual_;
  std::vector<std::vector<std::int64_t>> shapes_;
  std::int64_t classes_ = 0;
};

/// A network of your own torch::nn::Sequential stages, which any credit rule can train.
///
///     h_0 = embed(x) or x,  f_l = blocks[l](h_l),  h_{l+1} = f_l or, residual, h_l + f_l,  logits = readout(h_L)
///
/// - Shapes: hidden states may be (B, d), (B, C, H, W) or (B, N, d).
/// - The stages are shared, not copied. Parameters: embed.*, blocks.<l>.*, readout.*.
/// - Throws Error if there are no blocks or no readout, a stage is empty, or the stages do not fit together on the
///   example.
class SequentialBlocks : public torch::nn::ModuleHolder<SequentialBlocksImpl> {
 public:
  explicit SequentialBlocks(const SequentialBlocksOptions& options)
      : ModuleHolder(std::make_shared<SequentialBlocksImpl>(options)) {}
  /// Holds `module`, or none for nullptr. A template, because otherwise SequentialBlocks({}) would hold no module.
  template <std::convertible_to<std::shared_ptr<SequentialBlocksImpl>> Pointer>
  SequentialBlocks(Pointer module) : ModuleHolder(std::shared_ptr<SequentialBlocksImpl>(std::move(module))) {}
};

}  // namespace creditlib
