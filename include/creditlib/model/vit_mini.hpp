// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/init.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/model/block_module.hpp>
#include <creditlib/model/detail/transformer_mlp.hpp>
#include <cstddef>
#include <cstdint>

namespace creditlib {

struct ViTMiniOptions {
  std::int64_t width = 128;    ///< d, the width of every token
  std::int64_t heads = 4;      ///< attention heads; divides width
  std::int64_t blocks = 4;     ///< L; 0 is the readout on the embed, for BackpropTrainer alone
  std::int64_t classes = 10;   ///< C
  std::int64_t patch = 4;      ///< height and width of a patch; divides image
  std::int64_t image = 32;     ///< height and width of an image
  std::int64_t channels = 3;   ///< channels per image
  std::int64_t mlp_ratio = 4;  ///< the MLPs' hidden width in units of width
};

/// Multi-head self-attention, (B, N, d) to (B, N, d), with the parameters and the initialization of PyTorch's
/// MultiheadAttention: in_proj_weight, in_proj_bias, out_proj.*.
class ViTMiniAttentionImpl : public torch::nn::Module {
 public:
  ViTMiniAttentionImpl(std::int64_t width, std::int64_t heads)
      : in_proj_weight(register_parameter("in_proj_weight", torch::empty({3 * width, width}))),
        in_proj_bias(register_parameter("in_proj_bias", torch::zeros({3 * width}))),
        out_proj(register_module("out_proj", torch::nn::Linear(width, width))),
        heads_(heads) {
    torch::nn::init::xavier_uniform_(in_proj_weight);
    torch::nn::init::zeros_(out_proj->bias);
  }

  torch::Tensor forward(const torch::Tensor& h) {
    const auto batch = h.size(0), tokens = h.size(1), width = h.size(2);
    const auto queries_keys_values =
        at::linear(h, in_proj_weight, in_proj_bias).view({batch, tokens, 3, heads_, width / heads_});
    const auto of = [&](std::int64_t i) { return queries_keys_values.select(2, i).transpose(1, 2); };
    const auto attended = at::scaled_dot_product_attention(of(0), of(1), of(2));
    return out_proj(attended.transpose(1, 2).reshape({batch, tokens, width}));
  }

  torch::Tensor in_proj_weight, in_proj_bias;
  torch::nn::Linear out_proj;

 private:
  std::int64_t heads_;
};
TORCH_MODULE(ViTMiniAttention);

/// The branch of one pre-LayerNorm block: f = a + mlp(ln2(h + a)), a = attn(ln1(h)), (B, N, d) to (B, N, d).
class ViTMiniBlockImpl : public torch::nn::Module {
 public:
  explicit ViTMiniBlockImpl(const ViTMiniOptions& options)
      : ln1(register_module("ln1", norm(options))),
        attn(register_module("attn", ViTMiniAttention(options.width, options.heads))),
        ln2(register_module("ln2", norm(options))),
        mlp(register_module("mlp", detail::transformer_mlp(options.width, options.mlp_ratio * options.width))) {}

  torch::Tensor forward(const torch::Tensor& h) {
    const auto a = attn(ln1(h));
    return a + mlp->forward(ln2(h + a));
  }

  torch::nn::LayerNorm ln1;
  ViTMiniAttention attn;
  torch::nn::LayerNorm ln2;
  torch::nn::Sequential mlp;

 private:
  static torch::nn::LayerNorm norm(const ViTMiniOptions& options) {
    return torch::nn::LayerNorm(torch::nn::LayerNormOptions({options.width}));
  }
};
TORCH_MODULE(ViTMiniBlock);

class ViTMiniImpl : public BlockModule<ViTMiniImpl, ViTMiniOptions> {
 public:
  explicit ViTMiniImpl(const ViTMiniOptions& options) : BlockModule(checked(options)) {
    using namespace torch::nn;
    const auto tokens = 1 + (options.image / options.patch) * (options.image / options.patch);
    patch_embed_ = register_embed(
        "patch_embed", Conv2d(Conv2dOptions(options.channels, options.width, options.patch).stride(options.patch)));
    cls_token_ = register_embed("cls_token", torch::empty({1, 1, options.width}).normal_(0, 0.02));
    pos_embed_ = register_embed("pos_embed", torch::empty({1, tokens, options.width}).normal_(0, 0.02));
    for (std::int64_t l = 0; l < options.blocks; ++l) register_block(ViTMiniBlock(options));
    out_ln_ = register_readout("out_ln", LayerNorm(LayerNormOptions({options.width})));
    out_head_ = register_readout("out_head", Linear(options.width, options.classes));
    set_shapes(Shapes(static_cast<std::size_t>(options.blocks) + 1, {tokens, options.width}), options.classes);
  }

  /// Maps images (B, channels, image, image) to tokens (B, N, d): the class token, then the patches row by row, with
  /// positions added.
  torch::Tensor embed(const torch::Tensor& x) {
    const auto channels = options().channels, image = options().image;
    if (x.dim() != 4 || x.size(1) != channels || x.size(2) != image || x.size(3) != image) {
      detail::fail("ViTMini: the input is ", detail::shape_text(x.sizes()), ", expected (B, ", channels, ", ", image,
                   ", ", image, ") (ViTMiniOptions::channels and ::image).");
    }
    const auto patches = patch_embed_(x).flatten(2).transpose(1, 2);
    return at::cat({cls_token_.expand({x.size(0), -1, -1}), patches}, 1) + pos_embed_;
  }
  torch::Tensor join(std::int64_t, const torch::Tensor& h, const torch::Tensor& f) { return h + f; }
  torch::Tensor readout(const torch::Tensor& h) { return out_head_(out_ln_(h.select(1, 0))); }

 private:
  static ViTMiniOptions checked(const ViTMiniOptions& options) {
    if (options.width < 1 || options.heads < 1 || options.blocks < 0 || options.classes < 1 || options.patch < 1 ||
        options.image < 1 || options.channels < 1 || options.mlp_ratio < 1) {
      detail::fail("ViTMini: width ", options.width, ", heads ", options.heads, ", blocks ", options.blocks,
                   ", classes ", options.classes, ", patch ", options.patch, ", image ", options.image, ", channels ",
                   options.channels, ", mlp_ratio ", options.mlp_ratio,
                   "; expected at least 1 each, and at least 0 blocks.");
    }
    if (options.width % options.heads != 0) {
      detail::fail("ViTMini: width ", options.width, " cannot be divided among ", options.heads,
                   " heads; choose a multiple of heads.");
    }
    if (options.image % options.patch != 0) {
      detail::fail("ViTMini: image ", options.image, " is not a multiple of patch ", options.patch,
                   "; patches must tile the image.");
    }
    return options;
  }

  torch::nn::Conv2d patch_embed_ = nullptr;
  torch::Tensor cls_token_, pos_embed_;
  torch::nn::LayerNorm out_ln_ = nullptr;
  torch::nn::Linear out_head_ = nullptr;
};

/// A small vision transformer with pre-LayerNorm blocks, a class token and learned positions.
///
///     h_0 = [cls_token, patch_embed(x)] + pos_embed,  a_l = attn(ln1(h_l)),  f_l = a_l + mlp(ln2(h_l + a_l)),
///     h_{l+1} = h_l + f_l,  logits = out_head(out_ln(class token of h_L)),  mlp = Linear, GELU, Linear
///
/// - Shapes: all hidden states are (B, N, d) with N = 1 + (image/patch)^2 tokens: 65 tokens of 128 with the defaults.
/// - The readout reads the class token alone, so dloss/dh_L is 0 at all other tokens.
/// - Initialization: cls_token and pos_embed from N(0, 0.02^2), the attention as in PyTorch's MultiheadAttention,
///   everything else as in LibTorch, from its global generator.
/// - Parameters: patch_embed.*, cls_token, pos_embed, blocks.<l>.{ln1,ln2}.*,
///   blocks.<l>.attn.{in_proj_weight,in_proj_bias}, blocks.<l>.attn.out_proj.*, blocks.<l>.mlp.{0,2}.*, out_ln.*,
///   out_head.*.
/// - Throws Error for invalid sizes (such as heads that do not divide the width, or patches that do not tile the image)
///   and for an input of another shape.
using ViTMini = ModelHolder<ViTMiniImpl>;

}  // namespace creditlib
