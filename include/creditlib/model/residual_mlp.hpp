// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>

#include <creditlib/closed_form/layer_of.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/model/block_module.hpp>
#include <cstdint>
#include <optional>
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

class ResidualMLPImpl : public BlockModule<ResidualMLPImpl, ResidualMLPOptions> {
 public:
  explicit ResidualMLPImpl(const ResidualMLPOptions& options) : BlockModule(checked(options)) {
    embed_ = register_embed("embed", torch::nn::Linear(options.input, options.width));
    for (std::int64_t l = 0; l < options.blocks; ++l)
      blocks_.push_back(register_block(ResidualMLPBlock(options.width)));
    out_ln_ = register_readout("out_ln", torch::nn::LayerNorm(torch::nn::LayerNormOptions({options.width})));
    out_head_ = register_readout("out_head", torch::nn::Linear(options.width, options.classes));
    set_shapes(Shapes(blocks_.size() + 1, {options.width}), options.classes);
  }

  /// Maps (B, ...) with `input` numbers per sample (images may keep their shape) to (B, d).
  torch::Tensor embed(const torch::Tensor& x) {
    if (x.dim() < 2 || x.flatten(1).size(1) != options().input) {
      detail::fail("ResidualMLP: the input is ", detail::shape_text(x.sizes()), ", expected ", options().input,
                   " numbers per sample (ResidualMLPOptions::input), samples in dimension 0.");
    }
    return embed_(x.flatten(1));
  }
  torch::Tensor join(std::int64_t, const torch::Tensor& h, const torch::Tensor& f) { return h + f; }
  torch::Tensor readout(const torch::Tensor& h) { return out_head_(out_ln_(h)); }

  /// Always available: trainers compute this network's gradients by formula. A subclass, whose blocks may differ, must
  /// provide its own.
  std::optional<closed_form::Network> closed_form() {
    if (!closed_form::exactly<ResidualMLPImpl>(*this)) return std::nullopt;
    closed_form::Network network{.embed = {closed_form::layer_of(*embed_)},
                                 .blocks = {},
                                 .readout = {closed_form::layer_of(*out_ln_), closed_form::layer_of(*out_head_)},
                                 .residual = true,
                                 .flatten = true};
    for (const auto& block : blocks_) {
      network.blocks.push_back({closed_form::layer_of(*block->ln), closed_form::layer_of(*block->w1),
                                closed_form::GELU{}, closed_form::layer_of(*block->w2)});
    }
    return network;
  }

 private:
  static ResidualMLPOptions checked(const ResidualMLPOptions& options) {
    if (options.input < 1 || options.width < 1 || options.classes < 1 || options.blocks < 0) {
      detail::fail("ResidualMLP: input ", options.input, ", width ", options.width, ", classes ", options.classes,
                   ", blocks ", options.blocks, "; expected at least 1, 1, 1 and 0.");
    }
    return options;
  }

  torch::nn::Linear embed_ = nullptr;
  std::vector<ResidualMLPBlock> blocks_;
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
using ResidualMLP = ModelHolder<ResidualMLPImpl>;

}  // namespace creditlib
