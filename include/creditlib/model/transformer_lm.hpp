// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/init.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>

#include <algorithm>
#include <cmath>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/model/block_module.hpp>
#include <creditlib/model/detail/transformer_mlp.hpp>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace creditlib {

struct TransformerLMOptions {
  std::int64_t vocabulary = 256;  ///< V: token ids are 0..V-1; at least 2
  std::int64_t context = 64;      ///< the longest sequence
  std::int64_t width = 128;       ///< d, the width of every token
  std::int64_t heads = 4;         ///< attention heads; divides width
  std::int64_t blocks = 4;        ///< L; 0 is the readout on the embed, for BackpropTrainer alone
  std::int64_t mlp_ratio = 4;     ///< the MLPs' hidden width in units of width
  double dropout = 0;             ///< of h_0, of the attention's weights and of what attention and MLP give; 0 to 1
  /// Sequences of any length up to context. With false a trainer takes sequences of `context` tokens alone, which rules
  /// that predict credit for hidden states of one shape need (Vec, ValueNet, StatePredictor).
  bool any_positions = true;
};

/// Causal multi-head self-attention, (B, T, d) to (B, T, d): position t sees positions 0..t.
class TransformerLMAttentionImpl : public torch::nn::Module {
 public:
  explicit TransformerLMAttentionImpl(const TransformerLMOptions& options)
      : qkv(register_module("qkv", torch::nn::Linear(options.width, 3 * options.width))),
        out(register_module("out", torch::nn::Linear(options.width, options.width))),
        heads_(options.heads),
        dropout_(options.dropout) {}

  torch::Tensor forward(const torch::Tensor& h) {
    const auto batch = h.size(0), tokens = h.size(1), width = h.size(2);
    const auto queries_keys_values = qkv(h).view({batch, tokens, 3, heads_, width / heads_});
    const auto of = [&](std::int64_t i) { return queries_keys_values.select(2, i).transpose(1, 2); };
    const auto attended = at::scaled_dot_product_attention(of(0), of(1), of(2), /*attn_mask=*/{},
                                                           is_training() ? dropout_ : 0.0, /*is_causal=*/true);
    return out(attended.transpose(1, 2).reshape({batch, tokens, width}));
  }

  torch::nn::Linear qkv, out;

 private:
  std::int64_t heads_;
  double dropout_;
};
TORCH_MODULE(TransformerLMAttention);

/// The branch of one pre-LayerNorm block: f = a + mlp(ln2(h + a)), a = attn(ln1(h)), (B, T, d) to (B, T, d).
class TransformerLMBlockImpl : public torch::nn::Module {
 public:
  explicit TransformerLMBlockImpl(const TransformerLMOptions& options)
      : ln1(register_module("ln1", norm(options))),
        attn(register_module("attn", TransformerLMAttention(options))),
        ln2(register_module("ln2", norm(options))),
        mlp(register_module("mlp", detail::transformer_mlp(options.width, options.mlp_ratio * options.width))),
        drop(register_module("drop", torch::nn::Dropout(options.dropout))) {}

  torch::Tensor forward(const torch::Tensor& h) {
    const auto a = drop(attn(ln1(h)));
    return a + drop(mlp->forward(ln2(h + a)));
  }

  torch::nn::LayerNorm ln1;
  TransformerLMAttention attn;
  torch::nn::LayerNorm ln2;
  torch::nn::Sequential mlp;
  torch::nn::Dropout drop;

 private:
  static torch::nn::LayerNorm norm(const TransformerLMOptions& options) {
    return torch::nn::LayerNorm(torch::nn::LayerNormOptions({options.width}));
  }
};
TORCH_MODULE(TransformerLMBlock);

class TransformerLMImpl : public BlockModule<TransformerLMImpl, TransformerLMOptions> {
 public:
  explicit TransformerLMImpl(const TransformerLMOptions& options) : BlockModule(checked(options)) {
    using namespace torch::nn;
    token_embed_ = register_embed("token_embed", Embedding(options.vocabulary, options.width));
    pos_embed_ = register_embed("pos_embed", torch::empty({options.context, options.width}));
    drop_ = register_embed("drop", Dropout(options.dropout));
    for (std::int64_t l = 0; l < options.blocks; ++l) register_block(TransformerLMBlock(options));
    out_ln_ = register_readout("out_ln", LayerNorm(LayerNormOptions({options.width})));
    out_head_ = register_readout("out_head", Linear(options.width, options.vocabulary));
    initialize();
    const auto tokens = options.any_positions ? -1 : options.context;
    set_shapes(Shapes(static_cast<std::size_t>(options.blocks) + 1, {tokens, options.width}),
               std::vector<std::int64_t>{tokens, options.vocabulary});
  }

  /// Maps token ids (B, T), int64, to hidden states (B, T, d): each token's embedding plus its position's.
  torch::Tensor embed(const torch::Tensor& x) {
    check_ids(x);
    return drop_(token_embed_(x) + pos_embed_.narrow(0, 0, x.size(1)));
  }
  torch::Tensor join(std::int64_t, const torch::Tensor& h, const torch::Tensor& f) { return h + f; }
  torch::Tensor readout(const torch::Tensor& h) { return out_head_(out_ln_(h)); }

 private:
  static TransformerLMOptions checked(const TransformerLMOptions& options) {
    if (options.vocabulary < 2 || options.context < 1 || options.width < 1 || options.heads < 1 || options.blocks < 0 ||
        options.mlp_ratio < 1) {
      detail::fail("TransformerLM: vocabulary ", options.vocabulary, ", context ", options.context, ", width ",
                   options.width, ", heads ", options.heads, ", blocks ", options.blocks, ", mlp_ratio ",
                   options.mlp_ratio, "; expected a vocabulary of at least 2, at least 0 blocks and 1 of the others.");
    }
    if (options.width % options.heads != 0) {
      detail::fail("TransformerLM: width ", options.width, " cannot be divided among ", options.heads,
                   " heads; choose a multiple of heads.");
    }
    if (!(options.dropout >= 0 && options.dropout < 1)) {
      detail::fail("TransformerLM: dropout is ", options.dropout, ", expected 0 or more and less than 1.");
    }
    return options;
  }

  /// As GPT-2.
  void initialize() {
    const torch::NoGradGuard no_grad;
    const double deviation = 0.02;
    const double of_branches = deviation / std::sqrt(2.0 * static_cast<double>(std::max<std::int64_t>(1, blocks())));
    for (const auto& module : modules(/*include_self=*/false)) {
      if (auto* linear = module->as<torch::nn::Linear>()) {
        linear->weight.normal_(0, deviation);
        linear->bias.zero_();
      }
    }
    token_embed_->weight.normal_(0, deviation);
    pos_embed_.normal_(0, deviation);
    for (const auto& parameter : named_parameters()) {
      const auto& name = parameter.key();
      if (name.ends_with(".attn.out.weight") || name.ends_with(".mlp.2.weight")) {
        parameter.value().normal_(0, of_branches);
      }
    }
  }

  void check_ids(const torch::Tensor& x) const {
    const auto context = options().context, vocabulary = options().vocabulary;
    if (!x.defined() || x.dim() != 2 || x.scalar_type() != torch::kInt64 || x.size(1) < 1) {
      detail::fail("TransformerLM: the input is ", detail::tensor_text(x), ", expected token ids (B, T), int64.");
    }
    if (x.size(1) > context) {
      detail::fail("TransformerLM: the input is ", detail::shape_text(x.sizes()), ", a sequence of ", x.size(1),
                   " tokens, but there are positions for ", context,
                   "; cut it, or make the model with a larger TransformerLMOptions::context.");
    }
    if (!x.is_cpu() || x.numel() == 0) return;  // elsewhere looking would wait for the device
    const auto least = x.min().item<std::int64_t>(), most = x.max().item<std::int64_t>();
    if (least < 0 || most >= vocabulary) {
      detail::fail("TransformerLM: a token id is ", least < 0 ? least : most, ", expected 0..", vocabulary - 1,
                   " (TransformerLMOptions::vocabulary is ", vocabulary, ").");
    }
  }

  torch::nn::Embedding token_embed_ = nullptr;
  torch::Tensor pos_embed_;
  torch::nn::Dropout drop_ = nullptr;
  torch::nn::LayerNorm out_ln_ = nullptr;
  torch::nn::Linear out_head_ = nullptr;
};

/// A causal transformer over tokens, as GPT-2: pre-LayerNorm blocks, learned positions, a readout of its own weights.
///
///     h_0 = token_embed(x) + pos_embed,  a_l = attn(ln1(h_l)),  f_l = a_l + mlp(ln2(h_l + a_l)),
///     h_{l+1} = h_l + f_l,  logits = out_head(out_ln(h_L)),  mlp = Linear, GELU, Linear
///
/// - Shapes: token ids (B, T), int64, T <= context; hidden states (B, T, d); logits (B, T, V). Targets are (B, T): the
///   token that follows each one.
/// - Causal: nothing at position t depends on tokens after t.
/// - Initialization: weights of Linear and embeddings from N(0, 0.02^2), those of attn.out and of the MLPs' second
///   Linear from N(0, 0.02^2 / 2L), biases 0, from LibTorch's global generator.
/// - Parameters: token_embed.weight, pos_embed, blocks.<l>.{ln1,ln2}.*, blocks.<l>.attn.{qkv,out}.*,
///   blocks.<l>.mlp.{0,2}.*, out_ln.*, out_head.*.
/// - Throws Error for invalid sizes (such as heads that do not divide the width), for an input that is not (B, T) int64,
///   for a sequence longer than context and, on the CPU, for ids out of 0..V-1.
using TransformerLM = ModelHolder<TransformerLMImpl>;

}  // namespace creditlib
