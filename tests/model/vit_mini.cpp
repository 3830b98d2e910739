// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <creditlib/model/vit_mini.hpp>

#include "../test.hpp"
#include "image_models.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

ViTMini vit_mini(torch::Dtype dtype = torch::kFloat32) {
  torch::manual_seed(1);
  ViTMini model(
      {.width = 8, .heads = 2, .blocks = 2, .classes = 4, .patch = 2, .image = 6, .channels = 3, .mlp_ratio = 2});
  image_model::enliven(*model);
  model->to(dtype);
  return model;
}

Batch images(std::int64_t size, torch::Dtype dtype = torch::kFloat32) {
  auto model = vit_mini();
  return image_model::batch_of(model, {3, 6, 6}, size, dtype);
}

}  // namespace

TEST_CASE("ViTMini has the reference scripts' parameter names", "[model]") {
  auto model = ViTMini({.width = 8, .heads = 2, .blocks = 1, .classes = 4, .mlp_ratio = 2});
  const auto parameters = model->named_parameters();

  auto names = image_model::parameter_names(*model);
  std::sort(names.begin(), names.end());
  CHECK(names == std::vector<std::string>{"blocks.0.attn.in_proj_bias",
                                          "blocks.0.attn.in_proj_weight",
                                          "blocks.0.attn.out_proj.bias",
                                          "blocks.0.attn.out_proj.weight",
                                          "blocks.0.ln1.bias",
                                          "blocks.0.ln1.weight",
                                          "blocks.0.ln2.bias",
                                          "blocks.0.ln2.weight",
                                          "blocks.0.mlp.0.bias",
                                          "blocks.0.mlp.0.weight",
                                          "blocks.0.mlp.2.bias",
                                          "blocks.0.mlp.2.weight",
                                          "cls_token",
                                          "out_head.bias",
                                          "out_head.weight",
                                          "out_ln.bias",
                                          "out_ln.weight",
                                          "patch_embed.bias",
                                          "patch_embed.weight",
                                          "pos_embed"});
  CHECK(parameters["patch_embed.weight"].sizes() == torch::IntArrayRef({8, 3, 4, 4}));
  CHECK(parameters["cls_token"].sizes() == torch::IntArrayRef({1, 1, 8}));
  CHECK(parameters["pos_embed"].sizes() == torch::IntArrayRef({1, 65, 8}));
  CHECK(parameters["blocks.0.mlp.0.weight"].sizes() == torch::IntArrayRef({16, 8}));
  CHECK(model->embed_parameters().size() == 4);
  CHECK(model->block_parameters(0).size() == 12);
  CHECK(model->readout_parameters().size() == 4);
  const ViTMiniOptions options;
  CHECK(options.width == 128);
  CHECK(options.heads == 4);
  CHECK(options.blocks == 4);
  CHECK(options.mlp_ratio == 4);
  CHECK(ViTMini(options)->hidden_shape(0) == std::vector<std::int64_t>{65, 128});
}

TEST_CASE("ViTMini is the network of its equations", "[model]") {
  auto model = vit_mini(torch::kFloat64);
  const auto x = images(3, torch::kFloat64).x;
  const auto parameters = model->named_parameters();
  const auto gelu = [](const torch::Tensor& h) { return h * (1 + torch::erf(h / std::sqrt(2.0))) / 2; };

  // Patches row by row, each as its numbers in a row.
  std::vector<torch::Tensor> tokens{parameters["cls_token"].expand({3, 1, 8})};
  for (std::int64_t row = 0; row < 3; ++row) {
    for (std::int64_t column = 0; column < 3; ++column) {
      const auto patch = x.narrow(2, 2 * row, 2).narrow(3, 2 * column, 2).reshape({3, 12});
      const auto embedded =
          patch.matmul(parameters["patch_embed.weight"].reshape({8, 12}).t()) + parameters["patch_embed.bias"];
      tokens.push_back(embedded.unsqueeze(1));
    }
  }
  auto h = torch::cat(tokens, 1) + parameters["pos_embed"];
  CHECK(distance(model->embed(x), h) < 1e-12);

  for (std::int64_t l = 0; l < 2; ++l) {
    const auto at = "blocks." + std::to_string(l);
    const auto normed = image_model::layer_norm(*model, at + ".ln1", h);
    const auto projected =
        normed.matmul(parameters[at + ".attn.in_proj_weight"].t()) + parameters[at + ".attn.in_proj_bias"];
    std::vector<torch::Tensor> heads;
    for (std::int64_t head = 0; head < 2; ++head) {
      const auto part = [&](std::int64_t i) { return projected.narrow(2, 8 * i + 4 * head, 4); };
      const auto weights = (torch::einsum("bnk,bmk->bnm", {part(0), part(1)}) / 2).softmax(2);
      heads.push_back(torch::einsum("bnm,bmk->bnk", {weights, part(2)}));
    }
    const auto a = image_model::linear(*model, at + ".attn.out_proj", torch::cat(heads, 2));
    const auto inner = image_model::linear(*model, at + ".mlp.0", image_model::layer_norm(*model, at + ".ln2", h + a));
    const auto out = h + a + image_model::linear(*model, at + ".mlp.2", gelu(inner));
    CHECK(distance(model->block(l, h), out - h) < 1e-12);
    CHECK(distance(model->join(l, h, model->block(l, h)), out) < 1e-12);
    h = out;
  }
  const auto class_token = h.select(1, 0);
  const auto logits = image_model::linear(*model, "out_head", image_model::layer_norm(*model, "out_ln", class_token));
  CHECK(distance(model->forward(x), logits) < 1e-12);
}

TEST_CASE("ViTMini's attention is LibTorch's MultiheadAttention, by the same parameter names", "[model]") {
  torch::manual_seed(6);
  ViTMiniAttention ours(8, 2);
  torch::nn::MultiheadAttention theirs(8, 2);
  const torch::NoGradGuard no_grad;
  for (const auto& parameter : theirs->named_parameters()) {
    parameter.value().normal_();
    ours->named_parameters()[parameter.key()].copy_(parameter.value());
  }
  const auto h = torch::randn({3, 5, 8});

  const auto rows_first = h.transpose(0, 1);
  const auto expected = std::get<0>(theirs->forward(rows_first, rows_first, rows_first)).transpose(0, 1);

  CHECK(ours->named_parameters().size() == theirs->named_parameters().size());
  CHECK(distance(ours->forward(h), expected) < 1e-6);
}

TEST_CASE("ViTMini starts as its documentation says", "[model]") {
  torch::manual_seed(42);
  auto model = ViTMini(ViTMiniOptions{});
  const auto parameters = model->named_parameters();
  const auto& in = parameters["blocks.2.attn.in_proj_weight"];
  const double bound = std::sqrt(6.0 / (4 * 128));

  CHECK(parameters["pos_embed"].std().item<double>() == Approx(0.02).epsilon(0.05));
  CHECK(parameters["cls_token"].std().item<double>() == Approx(0.02).epsilon(0.3));
  CHECK(in.abs().max().item<double>() <= bound);
  CHECK(in.std().item<double>() == Approx(bound / std::sqrt(3.0)).epsilon(0.02));
  CHECK_FALSE(parameters["blocks.2.attn.in_proj_bias"].any().item<bool>());
  CHECK_FALSE(parameters["blocks.2.attn.out_proj.bias"].any().item<bool>());
}

TEST_CASE("ViTMini's forward is the composition of its blocks, and its parameters are in one part each", "[model]") {
  CHECK(image_model::forward_is_the_composition(vit_mini(), images(3)) == "");
  CHECK(error_of([] { LocalTrainer(vit_mini(), DFA{}); }) == "(nothing was thrown)");
}

TEST_CASE("ViTMini with the oracle's credit has back-propagation's gradients", "[model]") {
  CHECK(image_model::oracle_is_backprop(vit_mini(torch::kFloat64), images(5, torch::kFloat64)) == "");
}

TEST_CASE("ViTMini trains with every rule", "[model]") {
  const auto make = [] {
    torch::manual_seed(1);
    return ViTMini({.width = 8, .heads = 2, .blocks = 2, .classes = 4, .patch = 2, .image = 6, .mlp_ratio = 2});
  };
  CHECK(image_model::every_rule_trains(make, images(8), 1e-2, 40, 0.85) == "");
  CHECK(image_model::learned_rules_learn(make, images(8)) == "");
}

TEST_CASE("ViTMini's credit is that of every token, and exact credit at h_L of the class token alone", "[model]") {
  const auto batch = images(5, torch::kFloat64);
  auto model = vit_mini(torch::kFloat64);

  const auto dfa = LocalTrainer(model, DFA{}).credits(batch.x, batch.y);
  const auto fa = LocalTrainer(model, FA{}).credits(batch.x, batch.y);

  CHECK(image_model::credit_is_of_every_position(model, batch) == "");
  for (const auto& a : dfa) CHECK(a.sizes() == torch::IntArrayRef({5, 1, 8}));
  CHECK(fa[1].sizes() == torch::IntArrayRef({5, 1, 8}));
  CHECK(fa[2].sizes() == torch::IntArrayRef({5, 10, 8}));
  CHECK(fa[2].select(1, 0).any().item<bool>());
  CHECK_FALSE(fa[2].narrow(1, 1, 9).any().item<bool>());
}

TEST_CASE("ViTMini without blocks is the readout on the class token's embedding", "[model]") {
  auto model = ViTMini({.width = 8, .heads = 2, .blocks = 0, .classes = 4, .patch = 2, .image = 6});
  const auto batch = images(5);

  CHECK(BackpropTrainer(model).gradients(batch.x, batch.y).size() == 8);
  const auto token =
      (model->named_parameters()["cls_token"] + model->named_parameters()["pos_embed"].narrow(1, 0, 1)).squeeze(1);
  CHECK(distance(model->forward(batch.x), model->readout(token.unsqueeze(1)).expand({5, 4})) < 1e-6);
}

TEST_CASE("ViTMini says which input and which sizes it takes", "[model]") {
  auto model = vit_mini();

  CHECK(says(error_of([&] { model->forward(torch::zeros({2, 108})); }),
             {"ViTMini: the input is (2, 108), expected (B, 3, 6, 6)", "ViTMiniOptions::channels"}));
  CHECK(says(error_of([&] { model->forward(torch::zeros({2, 3, 8, 8})); }), {"(2, 3, 8, 8)"}));
  CHECK(says(error_of([] { ViTMini({.width = 10, .heads = 4}); }), {"width 10 cannot be divided among 4 heads"}));
  CHECK(says(error_of([] { ViTMini({.patch = 5}); }), {"image 32 is not a multiple of patch 5"}));
  CHECK(says(error_of([] { ViTMini({.blocks = -1}); }), {"ViTMini:", "blocks -1"}));
  CHECK(says(error_of([] { ViTMini({.mlp_ratio = 0}); }), {"mlp_ratio 0"}));
}

TEST_CASE("A seed gives the MLP of a block its weights layer by layer, whatever the compiler", "[model]") {
  torch::manual_seed(3);
  const auto mlp = creditlib::detail::transformer_mlp(4, 8);

  torch::manual_seed(3);
  const torch::nn::Linear first(4, 8);
  const torch::nn::Linear second(8, 4);

  const auto parameters = mlp->named_parameters();
  CHECK(torch::equal(parameters["0.weight"], first->weight));
  CHECK(torch::equal(parameters["0.bias"], first->bias));
  CHECK(torch::equal(parameters["2.weight"], second->weight));
  CHECK(torch::equal(parameters["2.bias"], second->bias));
}
