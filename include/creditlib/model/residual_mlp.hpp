// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>

#include <concepts>
#include <creditlib/closed_form/layer_of.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace creditlib {

struct ResidualMLPOptions {
  std::int64_t input = 3072;  ///< features per sample
  std::int64_t width = 256;   ///< d, the width of every hidden state
  std::int64_t classes = 10;  ///< C
  std::int64_t blocks = 4;    ///< L; 0 is the readout on the embed, for BackpropTrainer alone
};

/// The branch of one residual block: f = w2(GELU(w1(ln(h)))), (B, d) to (B, d).
class ResidualMLPBlockImpl : public torch::nn::Module {
 public:
  explicit ResidualMLPBlockImpl(std::int64_t width)
      : ln(register_module("ln", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})))),
        w1(register_module("w1", torch::nn::Linear(width, width))),
        w2(register_module("w2", torch::nn::Linear(width, width))) {
    const torch::NoGradGuard no_grad;
    w2->weight.normal_(0, 0.01);
    w2->bias.zero_();
  }

  torch::Tensor forward(const torch::Tensor& h) { return w2(at::gelu(w1(ln(h)))); }

  torch::nn::LayerNorm ln;
  torch::nn::Linear w1, w2;
};
TORCH_MODULE(ResidualMLPBlock);

class ResidualMLPImpl : public torch::nn::Module {
 public:
  explicit ResidualMLPImpl(const ResidualMLPOptions& options) : options_(checked(options)) {
    embed_ = register_module("embed", torch::nn::Linear(options.input, options.width));
    blocks_ = register_module("blocks", torch::nn::ModuleList());
    for (std::int64_t l = 0; l < options.blocks; ++l) blocks_->push_back(ResidualMLPBlock(options.width));
    out_ln_ = register_module("out_ln", torch::nn::LayerNorm(torch::nn::LayerNormOptions({options.width})));
    out_head_ = register_module("out_head", torch::nn::Linear(options.width, options.classes));
  }

  const ResidualMLPOptions& options() const { return options_; }
  std::int64_t blocks() const { return options_.blocks; }
  std::int64_t classes() const { return options_.classes; }
  std::vector<std::int64_t> hidden_shape(std::int64_t) const { return {options_.width}; }

  /// Maps (B, ...) with `input` numbers per sample (images may keep their shape) to (B, d).
  torch::Tensor embed(const torch::Tensor& x) {
    if (x.dim() < 2 || x.flatten(1).size(1) != options_.input) {
      detail::fail("ResidualMLP: the input is ", detail::shape_text(x.sizes()), ", expected ", options_.input,
                   " numbers per sample (ResidualMLPOptions::input), samples in dimension 0.");
    }
    return embed_(x.flatten(1));
  }
  torch::Tensor block(std::int64_t l, const torch::Tensor& h) { return at_block(l)->forward(h); }
  torch::Tensor join(std::int64_t, const torch::Tensor& h, const torch::Tensor& f) { return h + f; }
  torch::Tensor readout(const torch::Tensor& h) { return out_head_(out_ln_(h)); }
  /// The logits, (B, C).
  torch::Tensor forward(const torch::Tensor& x) {
    auto h = embed(x);
    for (std::int64_t l = 0; l < options_.blocks; ++l) h = join(l, h, block(l, h));
    return readout(h);
  }

  /// Always available: trainers compute this network's gradients by formula. A subclass, whose blocks may differ, must
  /// provide its own.
  std::optional<closed_form::Network> closed_form() {
    if (!closed_form::exactly<ResidualMLPImpl>(*this)) return std::nullopt;
    closed_form::Network network{.embed = {closed_form::layer_of(*embed_)},
                                 .blocks = {},
                                 .readout = {closed_form::layer_of(*out_ln_), closed_form::layer_of(*out_head_)},
                                 .residual = true,
                                 .flatten = true};
    for (std::int64_t l = 0; l < options_.blocks; ++l) {
      const auto& block = *at_block(l);
      network.blocks.push_back({closed_form::layer_of(*block.ln), closed_form::layer_of(*block.w1), closed_form::GELU{},
                                closed_form::layer_of(*block.w2)});
    }
    return network;
  }

  std::vector<torch::Tensor> embed_parameters() const { return embed_->parameters(); }
  std::vector<torch::Tensor> block_parameters(std::int64_t l) const {
    return blocks_->ptr(static_cast<std::size_t>(l))->parameters();
  }
  std::vector<torch::Tensor> readout_parameters() const {
    auto parameters = out_ln_->parameters();
    for (auto& parameter : out_head_->parameters()) parameters.push_back(parameter);
    return parameters;
  }

 private:
  static ResidualMLPOptions checked(const ResidualMLPOptions& options) {
    if (options.input < 1 || options.width < 1 || options.classes < 2 || options.blocks < 0) {
      detail::fail("ResidualMLP: input ", options.input, ", width ", options.width, ", classes ", options.classes,
                   ", blocks ", options.blocks, "; expected at least 1, 1, 2 and 0.");
    }
    return options;
  }
  ResidualMLPBlockImpl* at_block(std::int64_t l) {
    return blocks_[static_cast<std::size_t>(l)]->as<ResidualMLPBlockImpl>();
  }

  ResidualMLPOptions options_;
  torch::nn::Linear embed_ = nullptr;
  torch::nn::ModuleList blocks_ = nullptr;
  torch::nn::LayerNorm out_ln_ = nullptr;
  torch::nn::Linear out_head_ = nullptr;
};

/// A residual MLP with pre-LayerNorm blocks.
///
///     h_0 = embed(x),  f_l = w2(GELU(w1(ln(h_l)))),  h_{l+1} = h_l + f_l,  logits = out_head(out_ln(h_L))
///
/// - Shapes: all hidden states are (B, d).
/// - Initialization: w2.weight from N(0, 0.01^2), w2.bias 0, everything else as in LibTorch, from its global generator.
/// - Parameters: embed.*, blocks.<l>.{ln,w1,w2}.*, out_ln.*, out_head.*.
/// - Cost: B (input d + 2 L d^2 + d C) multiplications per forward pass.
/// - Throws Error for invalid sizes and for an input with another number of features.
class ResidualMLP : public torch::nn::ModuleHolder<ResidualMLPImpl> {
 public:
  explicit ResidualMLP(const ResidualMLPOptions& options) : ModuleHolder(std::make_shared<ResidualMLPImpl>(options)) {}
  /// Holds `module`, or none for nullptr. A template, because otherwise ResidualMLP({}) would hold no module.
  template <std::convertible_to<std::shared_ptr<ResidualMLPImpl>> Pointer>
  ResidualMLP(Pointer module) : ModuleHolder(std::shared_ptr<ResidualMLPImpl>(std::move(module))) {}
};

}  // namespace creditlib
