// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <creditlib/model/transformer_lm.hpp>
#include <creditlib/objective/cross_entropy.hpp>

#include "../test.hpp"
#include "image_models.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

constexpr TransformerLMOptions small_lm_options{
    .vocabulary = 7, .context = 6, .width = 8, .heads = 2, .blocks = 2, .mlp_ratio = 3};

TransformerLM transformer_lm(torch::Dtype dtype = torch::kFloat64, TransformerLMOptions options = small_lm_options) {
  torch::manual_seed(1);
  TransformerLM model(options);
  image_model::enliven(*model);
  model->to(dtype);
  return model;
}

/// Token ids and the tokens that follow them.
Batch token_ids(std::int64_t samples, std::int64_t tokens = 6) {
  torch::manual_seed(12);
  const auto text = torch::randint(7, {samples, tokens + 1});
  return {text.narrow(1, 0, tokens), text.narrow(1, 1, tokens)};
}

torch::Tensor batch_with(const torch::Tensor& x, std::int64_t sample, std::int64_t token, std::int64_t id) {
  auto changed = x.clone();
  changed[sample][token] = id;
  return changed;
}

}  // namespace

TEST_CASE("TransformerLM has its documentation's parameters and shapes", "[model]") {
  TransformerLM model(small_lm_options);
  auto names = image_model::parameter_names(*model);
  std::sort(names.begin(), names.end());
  std::vector<std::string> expected{"out_head.bias", "out_head.weight", "out_ln.bias",
                                    "out_ln.weight", "pos_embed",       "token_embed.weight"};
  for (const std::string l : {"0", "1"}) {
    for (const std::string layer : {"attn.out", "attn.qkv", "ln1", "ln2", "mlp.0", "mlp.2"}) {
      for (const std::string kind : {"bias", "weight"}) expected.push_back("blocks." + l + "." + layer + "." + kind);
    }
  }
  std::sort(expected.begin(), expected.end());
  CHECK(names == expected);
  CHECK(model->embed_parameters().size() == 2);
  CHECK(model->block_parameters(1).size() == 12);
  CHECK(model->readout_parameters().size() == 4);
  CHECK(model->classes() == 7);
  CHECK(model->hidden_shape(2) == std::vector<std::int64_t>{-1, 8});
  CHECK(model->logits_shape() == std::vector<std::int64_t>{-1, 7});
  CHECK(model->hidden_layout(1) == HiddenLayout::FeaturesLast);

  auto options = small_lm_options;
  options.any_positions = false;
  const TransformerLM fixed(options);
  CHECK(fixed->hidden_shape(0) == std::vector<std::int64_t>{6, 8});
  CHECK(fixed->logits_shape() == std::vector<std::int64_t>{6, 7});
}

TEST_CASE("TransformerLM is the network of its equations", "[model]") {
  auto model = transformer_lm();
  const auto x = token_ids(3, 5).x;
  const auto parameters = model->named_parameters();
  const auto gelu = [](const torch::Tensor& h) { return h * (1 + torch::erf(h / std::sqrt(2.0))) / 2; };

  auto h = torch::zeros({3, 5, 8}, torch::kFloat64);
  for (std::int64_t b = 0; b < 3; ++b) {
    for (std::int64_t t = 0; t < 5; ++t) {
      h[b][t] = parameters["token_embed.weight"][x[b][t].item<std::int64_t>()] + parameters["pos_embed"][t];
    }
  }
  CHECK(distance(model->embed(x), h) < 1e-12);

  for (std::int64_t l = 0; l < 2; ++l) {
    const auto at = "blocks." + std::to_string(l);
    const auto projected =
        image_model::linear(*model, at + ".attn.qkv", image_model::layer_norm(*model, at + ".ln1", h));
    // Position t attends to positions 0..t, one after the other.
    auto attended = torch::zeros_like(h);
    for (std::int64_t head = 0; head < 2; ++head) {
      const auto part = [&](std::int64_t i) { return projected.narrow(2, 8 * i + 4 * head, 4); };
      for (std::int64_t t = 0; t < 5; ++t) {
        const auto seen = [&](std::int64_t i) { return part(i).narrow(1, 0, t + 1); };
        const auto scores = (part(0).narrow(1, t, 1) * seen(1)).sum(2) / 2;
        const auto weights = scores.exp() / scores.exp().sum(1, true);
        attended.select(1, t).narrow(1, 4 * head, 4).copy_((weights.unsqueeze(2) * seen(2)).sum(1));
      }
    }
    const auto a = image_model::linear(*model, at + ".attn.out", attended);
    const auto inner = image_model::linear(*model, at + ".mlp.0", image_model::layer_norm(*model, at + ".ln2", h + a));
    const auto f = a + image_model::linear(*model, at + ".mlp.2", gelu(inner));
    CHECK(distance(model->block(l, h), f) < 1e-12);
    CHECK(distance(model->join(l, h, f), h + f) < 1e-12);
    h = h + f;
  }
  const auto logits = image_model::linear(*model, "out_head", image_model::layer_norm(*model, "out_ln", h));
  CHECK(distance(model->forward(x), logits) < 1e-12);
}

TEST_CASE("TransformerLM's logits depend on no later token, and on no other sample", "[model]") {
  auto model = transformer_lm();
  const auto x = token_ids(3).x;
  const auto logits = model->forward(x);
  for (std::int64_t t = 0; t < 6; ++t) {
    const auto id = (x[1][t].item<std::int64_t>() + 1) % 7;
    const auto moved = (model->forward(batch_with(x, 1, t, id)) - logits).abs().amax(2);
    CHECK(moved[0].max().item<double>() == 0);
    CHECK(moved[2].max().item<double>() == 0);
    if (t > 0) CHECK(moved[1].narrow(0, 0, t).max().item<double>() < 1e-14);
    CHECK(moved[1].narrow(0, t, 6 - t).min().item<double>() > 1e-6);
  }
  // So a prefix has the logits that it has in the whole.
  CHECK(distance(model->forward(x.narrow(1, 0, 4)), logits.narrow(1, 0, 4)) < 1e-12);
  CHECK(distance(model->forward(x.narrow(0, 1, 1)), logits.narrow(0, 1, 1)) < 1e-12);
}

TEST_CASE("TransformerLM starts as its documentation says", "[model]") {
  torch::manual_seed(42);
  TransformerLM model({});
  const auto parameters = model->named_parameters();
  const auto deviation = [&](const std::string& name) { return parameters[name].std().item<double>(); };

  for (const std::string name :
       {"token_embed.weight", "pos_embed", "blocks.2.attn.qkv.weight", "blocks.3.mlp.0.weight", "out_head.weight"}) {
    INFO(name);
    CHECK(deviation(name) == Approx(0.02).epsilon(0.03));
  }
  CHECK(deviation("blocks.2.attn.out.weight") == Approx(0.02 / std::sqrt(8.0)).epsilon(0.03));
  CHECK(deviation("blocks.3.mlp.2.weight") == Approx(0.02 / std::sqrt(8.0)).epsilon(0.03));
  for (const auto& parameter : parameters) {
    if (parameter.key().ends_with("bias")) CHECK_FALSE(parameter.value().any().item<bool>());
  }
  // Nearly uniform over the vocabulary.
  const auto loss = CrossEntropy{}.loss(model->forward(torch::randint(256, {2, 64})), torch::randint(256, {2, 64}));
  CHECK(loss.mean().item<double>() == Approx(std::log(256.0)).epsilon(0.02));
}

TEST_CASE("TransformerLM with the oracle's credit has back-propagation's gradients, and those of PyTorch", "[model]") {
  const auto batch = token_ids(5);
  CHECK(image_model::oracle_is_backprop(transformer_lm(), batch) == "");
  CHECK(image_model::oracle_is_backprop(transformer_lm(), token_ids(5, 3)) == "");

  auto model = transformer_lm();
  const auto loss = at::cross_entropy_loss(model->forward(batch.x).transpose(1, 2), batch.y);
  const auto expected = torch::autograd::grad({loss}, model->parameters());
  CHECK(distance(BackpropTrainer(model).gradients(batch.x, batch.y), expected) < 1e-12);
}

TEST_CASE("TransformerLM's credit is that of each position", "[model]") {
  auto model = transformer_lm();
  const auto batch = token_ids(5);
  const auto e = CrossEntropy{}.error(model->forward(batch.x), batch.y).detach();

  LocalTrainer dfa(model, DFA{}, {}, Raw{});
  const auto credits = dfa.credits(batch.x, batch.y);
  for (std::size_t l = 0; l <= 2; ++l) {
    CHECK(torch::allclose(credits[l], e.matmul(dfa.state().feedback[l].t()), 1e-10, 1e-12));
  }
  const auto fa = LocalTrainer(model, FA{}, {}, Raw{}).credits(batch.x, batch.y);
  CHECK(fa[1].sizes() == torch::IntArrayRef({5, 6, 8}));
}

TEST_CASE("TransformerLM takes sequences of different length if it may", "[model]") {
  auto model = transformer_lm(torch::kFloat32);
  LocalTrainer trainer(model, DFA{}, {});
  for (const std::int64_t tokens : {6, 2, 1}) {
    const auto batch = token_ids(4, tokens);
    CHECK(std::isfinite(trainer.step(batch.x, batch.y).loss.item<double>()));
  }
  CHECK(says(error_of([&] { LocalTrainer(model, Vec{}); }), {"(-1, 8)", "differs between batches"}));
  auto options = small_lm_options;
  options.any_positions = false;
  LocalTrainer fixed(transformer_lm(torch::kFloat32, options), DFA{}, {});
  const auto shorter = token_ids(4, 5), whole = token_ids(4);
  CHECK(std::isfinite(fixed.step(whole.x, whole.y).loss.item<double>()));
  CHECK(says(error_of([&] { fixed.step(shorter.x, shorter.y); }), {"(4, 5)", "expected (4, 6)"}));
}

TEST_CASE("TransformerLM trains with every rule", "[model]") {
  const auto make = [] {
    torch::manual_seed(1);
    auto options = small_lm_options;
    options.any_positions = false;
    return TransformerLM(options);
  };
  const auto batch = token_ids(4);
  const TrainerOptions options{.lr = 1e-2, .seed = 7};
  const auto learns = [&](const std::string& name, auto trainer) {
    CHECK(image_model::loss_falls(name, std::move(trainer), batch, 80) == "");
  };
  learns("back-propagation", BackpropTrainer(make(), options));
  learns("oracle", LocalTrainer(make(), Oracle{}, options));
  learns("DFA", LocalTrainer(make(), DFA{}, options));
  learns("FA", LocalTrainer(make(), FA{}, options));
  learns("EP", LocalTrainer(make(), EquilibriumPropagation{.steps = 5}, options, Raw{}));
  CHECK(image_model::learned_rules_learn(make, batch) == "");
  // One error for all positions: credit vanishes as soon as the tokens' frequencies are right.
  const auto by_element = LocalTrainer(make(), DFA{.by_element = true}, {}).credits(batch.x, batch.y);
  CHECK(by_element[1].sizes() == torch::IntArrayRef({4, 6, 8}));
}

TEST_CASE("a clone of TransformerLM is an independent copy", "[model]") {
  auto model = transformer_lm();
  const auto batch = token_ids(4);
  TransformerLM copy = model->clone();
  CHECK(same(copy->parameters(), model->parameters()));
  CHECK(torch::equal(copy->forward(batch.x), model->forward(batch.x)));
  const auto before = copies(model->parameters());
  LocalTrainer(copy, DFA{}).step(batch.x, batch.y);
  CHECK(same(copies(model->parameters()), before));
  CHECK_FALSE(same(copies(copy->parameters()), before));
}

TEST_CASE("TransformerLM's dropout is of train mode alone", "[model]") {
  auto options = small_lm_options;
  options.dropout = 0.5;
  auto model = transformer_lm(torch::kFloat64, options), plain = transformer_lm();
  const auto batch = token_ids(4);
  CHECK_FALSE(torch::allclose(model->forward(batch.x), model->forward(batch.x)));
  // Attention's weights too, which have no layer of their own.
  auto attention = TransformerLMAttention(options);
  const auto h = torch::randn({1, 6, 8});
  CHECK_FALSE(torch::allclose(attention(h), attention(h)));
  attention->eval();
  CHECK(torch::equal(attention(h), attention(h)));
  model->eval();
  CHECK(torch::equal(model->forward(batch.x), plain->forward(batch.x)));
  model->train();
  BackpropTrainer exact(model);
  LocalTrainer oracle(model, Oracle{}, {}, Raw{});
  const auto gradients = [&](auto& trainer) {
    torch::manual_seed(5);  // the same masks
    return trainer.gradients(batch.x, batch.y);
  };
  CHECK(distance(gradients(oracle), gradients(exact)) < 1e-12);
}

TEST_CASE("TransformerLM without blocks is the readout on the embed", "[model]") {
  auto options = small_lm_options;
  options.blocks = 0;
  auto model = transformer_lm(torch::kFloat64, options);
  const auto batch = token_ids(4);
  CHECK(distance(model->forward(batch.x), model->readout(model->embed(batch.x))) == 0);
  CHECK(BackpropTrainer(model).gradients(batch.x, batch.y).size() == 6);
}

TEST_CASE("TransformerLM says which input and which sizes it takes", "[model]") {
  auto model = transformer_lm();
  const auto of = [&](const torch::Tensor& x) { return error_of([&] { model->forward(x); }); };
  const auto ids = torch::zeros({2, 6}, torch::kInt64);

  CHECK(says(of(torch::zeros({2, 9}, torch::kInt64)),
             {"TransformerLM: the input is (2, 9)", "positions for 6", "TransformerLMOptions::context"}));
  CHECK(says(of(ids.to(torch::kInt32)), {"(2, 6) int32", "expected token ids (B, T), int64"}));
  CHECK(says(of(ids.to(torch::kFloat32)), {"(2, 6) float32", "expected token ids (B, T), int64"}));
  CHECK(says(of(ids[0]), {"(6) int64", "expected token ids (B, T), int64"}));
  CHECK(says(of(ids.narrow(1, 0, 0)), {"(2, 0) int64", "expected token ids (B, T), int64"}));
  CHECK(says(of(batch_with(ids, 1, 2, 7)), {"a token id is 7, expected 0..6", "TransformerLMOptions::vocabulary"}));
  CHECK(says(of(batch_with(ids, 1, 2, -1)), {"a token id is -1, expected 0..6"}));

  const auto made = [](auto change) {
    auto options = small_lm_options;
    change(options);
    return error_of([&] { TransformerLM{options}; });
  };
  CHECK(says(made([](auto& o) { o.heads = 3; }), {"width 8 cannot be divided among 3 heads"}));
  CHECK(says(made([](auto& o) { o.context = 0; }), {"TransformerLM:", "context 0"}));
  CHECK(says(made([](auto& o) { o.vocabulary = 1; }), {"vocabulary 1", "at least 2"}));
  CHECK(says(made([](auto& o) { o.blocks = -1; }), {"blocks -1"}));
  CHECK(says(made([](auto& o) { o.dropout = 1; }), {"dropout is 1"}));
}
