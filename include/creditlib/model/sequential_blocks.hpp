// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/container/sequential.h>

#include <creditlib/closed_form/layer_of.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/model/block_module.hpp>
#include <creditlib/model/detail/copied_stage.hpp>
#include <creditlib/model/detail/found_layout.hpp>
#include <creditlib/model/stage.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace creditlib {

/// Your own stages as a network in blocks. Each is a torch::nn::Sequential, or a module with a forward(h): see Stage.
struct SequentialBlocksOptions {
  Stage embed = {};            ///< optional; without it h_0 is the input itself
  Stages blocks = {};          ///< block l's branch f_l
  Stage readout = {};          ///< maps h_L to the logits: (B, C), (B, N, C) or (B, C, H, W)
  bool residual = false;       ///< h_{l+1} = h_l + f_l instead of f_l
  torch::Tensor example = {};  ///< an input, (1, ...); it is run in eval mode, to find the shapes
  /// Which dimension of hidden states with positions holds features. Found from the stages' layers if it is left out.
  std::optional<HiddenLayout> layout = {};
  /// The number of positions differs between batches: sequences of any length, images of any size.
  bool any_positions = false;
};

class SequentialBlocksImpl : public BlockModule<SequentialBlocksImpl, SequentialBlocksOptions> {
 public:
  explicit SequentialBlocksImpl(const SequentialBlocksOptions& options) : BlockModule(without_example(options)) {
    if (options.blocks.empty())
      detail::fail("SequentialBlocks: no blocks were given, expected at least one stage in .blocks.");
    if (!options.readout || options.readout->is_empty()) {
      detail::fail("SequentialBlocks: .readout is empty, expected a stage that gives the logits.");
    }
    if (!options.example.defined() || options.example.dim() == 0 || options.example.size(0) == 0) {
      detail::fail("SequentialBlocks: .example is ", detail::tensor_text(options.example),
                   ", expected an input such as torch::zeros({1, 64}).");
    }
    register_stages();
    const auto layout_of_readout = say_layouts();
    if (options.any_positions) set_any_positions();
    find_shapes(options.example,
                {.embed = ".embed",
                 .readout = ".readout",
                 .set_layout = "set .layout to HiddenLayout::FeaturesFirst or HiddenLayout::FeaturesLast",
                 .layout_is_found = true,
                 .logits_layout = layout_of_readout});
  }

  torch::Tensor embed(const torch::Tensor& x) { return has_embed() ? embed_->forward(x) : x; }
  torch::Tensor join(std::int64_t l, const torch::Tensor& h, const torch::Tensor& f) {
    if (!options().residual) return f;
    if (f.sizes() != h.sizes()) {
      detail::fail("SequentialBlocks: block ", l, " turns ", detail::shape_text(h.sizes()), " into ",
                   detail::shape_text(f.sizes()),
                   ", but with .residual = true its output is added to its input and must have the same shape.");
    }
    return h + f;
  }
  torch::Tensor readout(const torch::Tensor& h) { return readout_->forward(h); }

  /// If all hidden states are (B, d) and all layers have a closed form (see closed_form::layer_of; the embed may begin
  /// with a Flatten), trainers compute gradients by formula; not for a subclass, whose blocks may differ.
  std::optional<closed_form::Network> closed_form() {
    if (!closed_form::exactly<SequentialBlocksImpl>(*this)) return std::nullopt;
    closed_form::Network network{
        .embed = {}, .blocks = {}, .readout = {}, .residual = options().residual, .flatten = false};
    for (std::int64_t l = 0; l <= blocks(); ++l) {
      if (hidden_shape(l).size() != 1) return std::nullopt;
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
    for (const auto& block : options().blocks) {
      if (!describe(*block, network.blocks.emplace_back())) return std::nullopt;
    }
    if (!describe(*readout_, network.readout)) return std::nullopt;
    if (shares_parameters()) return std::nullopt;  // gradients by formula are written once per parameter
    return network;
  }

  using BlockModule::clone;
  /// Of the stages too. Throws Error for a layer whose class does not copy itself (torch::nn::Cloneable).
  std::shared_ptr<torch::nn::Module> clone(const std::optional<torch::Device>& device) const override {
    const auto copied = [this] {
      auto stages = options();
      detail::CopiedLayers copies;
      if (has_embed()) stages.embed = detail::copied_stage(stages.embed, ".embed", copies);
      for (std::size_t l = 0; l < stages.blocks.size(); ++l) {
        stages.blocks[l] = detail::copied_stage(stages.blocks[l], "block " + std::to_string(l), copies);
      }
      stages.readout = detail::copied_stage(stages.readout, ".readout", copies);
      return std::shared_ptr<SequentialBlocksImpl>(new SequentialBlocksImpl(stages, *this));
    };
    return clone_of(copied, device);
  }

 private:
  /// Other stages of the same shapes.
  SequentialBlocksImpl(const SequentialBlocksOptions& stages, const SequentialBlocksImpl& same) : BlockModule(stages) {
    register_stages();
    for (std::int64_t l = 0; l <= same.blocks(); ++l) set_layout(l, same.hidden_layout(l));
    Shapes shapes;
    for (std::int64_t l = 0; l <= same.blocks(); ++l) shapes.push_back(same.hidden_shape(l));
    set_shapes(std::move(shapes), same.logits_shape());
  }

  void register_stages() {
    embed_ = options().embed;
    readout_ = options().readout;
    /// Registers a stage as its layers, or, if it is one module, as that.
    const auto as_it_is = [](const Stage& stage, const auto& registered) {
      if (stage.is_one_module()) {
        registered(*stage->begin());
      } else {
        registered(stage);
      }
    };
    if (has_embed()) detail::refuse_tuples(*embed_, "SequentialBlocks", ".embed");
    detail::refuse_tuples(*readout_, "SequentialBlocks", ".readout");
    if (has_embed()) as_it_is(options().embed, [&](const auto& embed) { register_embed("embed", embed); });
    for (std::size_t l = 0; l < options().blocks.size(); ++l) {
      const auto& block = options().blocks[l];
      if (!block || block->is_empty())
        detail::fail("SequentialBlocks: block ", l, " is empty, expected at least one layer.");
      detail::refuse_tuples(*block, "SequentialBlocks", "block " + std::to_string(l));
      as_it_is(block, [&](const auto& module) { register_block(module); });
    }
    as_it_is(options().readout, [&](const auto& readout) { register_readout("readout", readout); });
  }

  /// Says the layout of each hidden state, and returns that of the logits, as far as the layers before it tell.
  std::optional<HiddenLayout> say_layouts() {
    auto layout = options().layout;
    if (layout) {
      set_layout(*layout);
    } else {
      layout = has_embed() ? detail::layout_after(*embed_, {}) : detail::layout_before(*options().blocks[0]);
      if (layout) set_layout(0, *layout);
      for (std::int64_t l = 0; l < blocks(); ++l) {
        const auto after = detail::layout_after(*options().blocks[static_cast<std::size_t>(l)], layout);
        if (after || !options().residual) layout = after;  // a sum has the layout of both
        if (layout) set_layout(l + 1, *layout);
      }
    }
    return detail::layout_after(*readout_, layout);
  }

  bool shares_parameters() const {
    std::set<const void*> seen;
    bool shared = false;
    const auto note = [&](const std::vector<torch::Tensor>& parameters) {
      for (const auto& parameter : parameters) shared = !seen.insert(parameter.unsafeGetTensorImpl()).second || shared;
    };
    note(embed_parameters());
    for (std::int64_t l = 0; l < blocks(); ++l) note(block_parameters(l));
    note(readout_parameters());
    return shared;
  }

  bool has_embed() const { return embed_ && !embed_->is_empty(); }

  static SequentialBlocksOptions without_example(SequentialBlocksOptions options) {
    options.example.reset();
    return options;
  }

  torch::nn::Sequential embed_ = nullptr, readout_ = nullptr;
};

/// A network of your own stages, which any credit rule can train: each is a torch::nn::Sequential or one module.
///
///     h_0 = embed(x) or x,  f_l = blocks[l](h_l),  h_{l+1} = f_l or, residual, h_l + f_l,  logits = readout(h_L)
///
/// - Shapes: hidden states may be (B, d), (B, C, T), (B, C, H, W), (B, C, D, H, W) or (B, N, d). Which dimension holds
///   features is found from the layers (Conv1d: the first, Linear: the last); for (B, C, T) and (B, N, d) behind a layer
///   that does not tell, .layout says it.
/// - The stages are shared, not copied. Parameters: embed.*, blocks.<l>.*, readout.*, with a number for each layer of a
///   Sequential (blocks.0.2.weight), without one for a single module (blocks.0.weight). A layer may stand in several
///   places; its gradient is then the sum of those of its places.
/// - Throws Error if there are no blocks or no readout, a stage is empty or has an LSTM, GRU or RNN outside of a
///   Recurrent, the stages do not fit together on the example, a stage mixes samples, .layout is needed, or the logits
///   are (B, C, N) or (B, H, W, C).
using SequentialBlocks = ModelHolder<SequentialBlocksImpl>;

}  // namespace creditlib
