// SPDX-License-Identifier: Apache-2.0
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <set>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

std::vector<std::string> parameter_names(const torch::nn::Module& module) {
  std::vector<std::string> names;
  for (const auto& entry : module.named_parameters()) names.push_back(entry.key());
  return names;
}

/// The parts' parameters together, by identity.
template <class Model>
std::multiset<void*> of_all_parts(Model& model) {
  std::multiset<void*> all;
  const auto add = [&](const std::vector<torch::Tensor>& parameters) {
    for (const auto& parameter : parameters) all.insert(parameter.unsafeGetTensorImpl());
  };
  add(model->embed_parameters());
  for (std::int64_t l = 0; l < model->blocks(); ++l) add(model->block_parameters(l));
  add(model->readout_parameters());
  return all;
}

template <class Model>
torch::Tensor composed(Model& model, const torch::Tensor& x) {
  auto h = model->embed(x);
  for (std::int64_t l = 0; l < model->blocks(); ++l) h = model->join(l, h, model->block(l, h));
  return model->readout(h);
}

double median_norm(const torch::Tensor& h) { return h.flatten(1).norm(2, 1).median().item<double>(); }

}  // namespace

TEST_CASE("ResidualMLP has the parameter names of the reference scripts", "[model]") {
  auto model = ResidualMLP({.input = 6, .width = 5, .classes = 4, .blocks = 2});

  CHECK(parameter_names(*model) ==
        std::vector<std::string>{"embed.weight", "embed.bias", "blocks.0.ln.weight", "blocks.0.ln.bias",
                                 "blocks.0.w1.weight", "blocks.0.w1.bias", "blocks.0.w2.weight", "blocks.0.w2.bias",
                                 "blocks.1.ln.weight", "blocks.1.ln.bias", "blocks.1.w1.weight", "blocks.1.w1.bias",
                                 "blocks.1.w2.weight", "blocks.1.w2.bias", "out_ln.weight", "out_ln.bias",
                                 "out_head.weight", "out_head.bias"});
  CHECK(model->embed_parameters().size() == 2);
  CHECK(model->block_parameters(1).size() == 6);
  CHECK(model->readout_parameters().size() == 4);
}

TEST_CASE("ResidualMLP is the network of its equations", "[model]") {
  auto model = residual_mlp(torch::kFloat64);
  const auto x = small_batch(torch::kFloat64).x;
  const auto parameters = model->named_parameters();
  const auto linear = [&](const torch::Tensor& h, const std::string& name) {
    return torch::einsum("bi,oi->bo", {h, parameters[name + ".weight"]}) + parameters[name + ".bias"];
  };
  const auto layer_norm = [&](const torch::Tensor& h, const std::string& name) {
    const auto centred = h - h.mean(1, true);
    return centred / (centred.square().mean(1, true) + 1e-5).sqrt() * parameters[name + ".weight"] +
           parameters[name + ".bias"];
  };
  const auto gelu = [](const torch::Tensor& h) { return h * (1 + torch::erf(h / std::sqrt(2.0))) / 2; };

  auto h = linear(x, "embed");
  CHECK(distance(model->embed(x), h) < 1e-13);
  for (std::int64_t l = 0; l < 3; ++l) {
    const auto at = "blocks." + std::to_string(l);
    const auto f = linear(gelu(linear(layer_norm(h, at + ".ln"), at + ".w1")), at + ".w2");
    CHECK(distance(model->block(l, h), f) < 1e-13);
    CHECK(distance(model->join(l, h, f), h + f) < 1e-13);
    h = h + f;
  }
  const auto logits = linear(layer_norm(h, "out_ln"), "out_head");
  CHECK(distance(model->readout(h), logits) < 1e-13);
  CHECK(distance(model->forward(x), logits) < 1e-12);
}

TEST_CASE("ResidualMLP starts as the reference scripts' does", "[model]") {
  torch::manual_seed(42);
  const std::int64_t width = GENERATE(256, 512), blocks = width == 256 ? 4 : 2;
  auto model = ResidualMLP({.input = 3072, .width = width, .classes = 10, .blocks = blocks});

  for (std::int64_t l = 0; l < blocks; ++l) {
    const auto parameters = model->named_parameters();
    const auto at = "blocks." + std::to_string(l);
    const auto w2 = parameters[at + ".w2.weight"];
    CHECK(w2.std().item<double>() == Approx(0.01).epsilon(0.02));
    CHECK(std::abs(w2.mean().item<double>()) < 5 * 0.01 / static_cast<double>(width));
    // PyTorch's Linear: uniform within 1/sqrt(fan in).
    const double bound = 1 / std::sqrt(static_cast<double>(width));
    CHECK(parameters[at + ".w1.weight"].abs().max().item<double>() <= bound);
    CHECK(parameters[at + ".w1.weight"].std().item<double>() == Approx(bound / std::sqrt(3.0)).epsilon(0.02));
    CHECK(parameters[at + ".w1.bias"].abs().max().item<double>() > 0.8 * bound);
    CHECK(parameters[at + ".w2.bias"].abs().max().item<double>() == 0);
    CHECK(parameters[at + ".ln.weight"].eq(1).all().item<bool>());
  }
  const torch::NoGradGuard no_grad;
  const auto x = torch::randn({128, 3072});
  const auto h_0 = model->embed(x);
  const auto f_0 = model->block(0, h_0);
  auto h = h_0;
  for (std::int64_t l = 0; l < blocks; ++l) h = model->join(l, h, model->block(l, h));
  // The published ratios, which do not depend on the data's own correlations: |f| / |h| is .100 at width 256, .148 at
  // 512.
  const double expected = width == 256 ? 0.100 : 0.148;
  CHECK(median_norm(f_0) / median_norm(h_0) == Approx(expected).epsilon(0.1));
  CHECK(median_norm(h - h_0) / median_norm(h_0) ==
        Approx(expected * std::sqrt(static_cast<double>(blocks))).epsilon(0.15));
}

TEST_CASE("ResidualMLP takes images as they are, and says so where the numbers do not fit", "[model]") {
  auto model = ResidualMLP({.input = 12, .width = 5, .classes = 4, .blocks = 1});
  const auto x = torch::randn({3, 3, 2, 2});

  CHECK(torch::equal(model->forward(x), model->forward(x.flatten(1))));
  CHECK(says(error_of([&] { model->forward(torch::zeros({3, 7})); }), {"(3, 7)", "expected 12 numbers per sample"}));
}

TEST_CASE("ResidualMLP refuses sizes that make no network", "[model]") {
  CHECK(says(error_of([] { ResidualMLP({.blocks = -1}); }), {"blocks -1", "expected at least 1, 1, 1 and 0"}));
  CHECK(says(error_of([] { ResidualMLP({.classes = 0}); }), {"classes 0"}));
  CHECK(says(error_of([] { ResidualMLP({.width = -3}); }), {"width -3"}));
  CHECK(says(error_of([] { ResidualMLP({.input = 0}); }), {"input 0"}));
}

TEST_CASE("ResidualMLP's defaults are those of CIFAR-10's first experiment", "[model]") {
  const ResidualMLPOptions options;
  CHECK(options.input == 3072);
  CHECK(options.width == 256);
  CHECK(options.classes == 10);
  CHECK(options.blocks == 4);
}

TEST_CASE("every parameter of a model is in one part, and forward is the composition", "[model]") {
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    const auto check = [&](auto model) {
      const auto batch = batch_for(kind);
      const auto all = of_all_parts(model);
      CHECK(all.size() == model->parameters().size());
      CHECK(std::set<void*>(all.begin(), all.end()).size() == all.size());

      model->eval();
      const torch::NoGradGuard no_grad;
      CHECK(torch::equal(model->forward(batch.x), composed(model, batch.x)));
      CHECK(model->classes() == small_classes);
      auto h = model->embed(batch.x);
      for (std::int64_t l = 0; l <= model->blocks(); ++l) {
        CHECK(h.sizes().slice(1) == torch::IntArrayRef(model->hidden_shape(l)));
        if (l < model->blocks()) h = model->join(l, h, model->block(l, h));
      }
    };
    if (kind == Kind::residual_mlp) {
      check(residual_mlp());
    } else {
      check(stages(kind));
    }
  }
}

TEST_CASE("SequentialBlocks names its stages' parameters by their place, and shares them", "[model]") {
  auto stage = torch::nn::Sequential(torch::nn::Linear(6, 5), torch::nn::ReLU());
  auto model = SequentialBlocks({.embed = torch::nn::Sequential(torch::nn::Linear(6, 6)),
                                 .blocks = {stage},
                                 .readout = torch::nn::Sequential(torch::nn::Linear(5, 4)),
                                 .example = torch::zeros({1, 6})});

  CHECK(parameter_names(*model) == std::vector<std::string>{"embed.0.weight", "embed.0.bias", "blocks.0.0.weight",
                                                            "blocks.0.0.bias", "readout.0.weight", "readout.0.bias"});
  CHECK(model->block_parameters(0)[0].unsafeGetTensorImpl() == stage->parameters()[0].unsafeGetTensorImpl());
}

TEST_CASE("SequentialBlocks adds the skip where it is told to", "[model]") {
  for (const bool residual : {false, true}) {
    auto block = torch::nn::Sequential(torch::nn::Linear(6, 6));
    auto model = SequentialBlocks({.blocks = {block},
                                   .readout = torch::nn::Sequential(torch::nn::Linear(6, 4)),
                                   .residual = residual,
                                   .example = torch::zeros({1, 6})});
    const auto h = torch::randn({2, 6});

    const auto f = model->block(0, h);
    CHECK(torch::equal(f, block->forward(h)));
    CHECK(torch::equal(model->join(0, h, f), residual ? h + f : f));
    CHECK(torch::equal(model->embed(h), h));
    CHECK(model->embed_parameters().empty());
  }
}

TEST_CASE("SequentialBlocks' example leaves modes, statistics and torch's generator as they were", "[model]") {
  auto norm = torch::nn::BatchNorm1d(6);
  auto drop = torch::nn::Dropout(0.5), off = torch::nn::Dropout(0.5);
  off->eval();
  torch::nn::Sequential block(torch::nn::Linear(6, 6), norm, drop, off), readout(torch::nn::Linear(6, 4));
  const auto statistics = copies(norm->buffers());
  const auto generator = global_generator_state();

  auto model = SequentialBlocks({.blocks = {block}, .readout = readout, .example = torch::ones({1, 6})});

  CHECK(same(statistics, copies(norm->buffers())));
  CHECK(torch::equal(generator, global_generator_state()));
  CHECK(model->is_training());
  CHECK(norm->is_training());
  CHECK(drop->is_training());
  CHECK_FALSE(off->is_training());
}

TEST_CASE("SequentialBlocks refuses stages that make no network", "[model]") {
  using torch::nn::Linear;
  using torch::nn::Sequential;
  const auto message = [](const SequentialBlocksOptions& options) {
    return error_of([&] { SequentialBlocks{options}; });
  };
  const auto x = torch::zeros({1, 6});
  const auto readout = [] { return Sequential(Linear(6, 4)); };

  CHECK(says(message({.readout = readout(), .example = x}), {"no blocks"}));
  CHECK(says(message({.blocks = {Sequential()}, .readout = readout(), .example = x}), {"block 0 is empty"}));
  CHECK(says(message({.blocks = {Sequential(Linear(6, 6))}, .example = x}), {".readout is empty"}));
  CHECK(says(message({.blocks = {Sequential(Linear(6, 6))}, .readout = readout()}), {".example is undefined"}));
  CHECK(says(
      message(
          {.blocks = {Sequential(Linear(6, 5))}, .readout = Sequential(Linear(5, 4)), .residual = true, .example = x}),
      {"block 0 turns (1, 6) into (1, 5)", "same shape"}));
  const auto flat = torch::nn::Flatten(torch::nn::FlattenOptions().start_dim(0));
  CHECK(says(message({.blocks = {Sequential(Linear(6, 6))}, .readout = Sequential(Linear(6, 4), flat), .example = x}),
             {"the readout gives (4)", "(B, classes)"}));
  CHECK(says(message({.blocks = {Sequential(Linear(7, 6))}, .readout = readout(), .example = x}),
             {"shapes cannot be multiplied"}));
}
