// SPDX-License-Identifier: Apache-2.0
#include <creditlib/model/small_cnn.hpp>

#include "../test.hpp"
#include "image_models.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

SmallCNN small_cnn(torch::Dtype dtype = torch::kFloat32) {
  torch::manual_seed(1);
  SmallCNN model({.classes = 4});
  image_model::enliven(*model);
  model->to(dtype);
  return model;
}

Batch images(std::int64_t size, torch::Dtype dtype = torch::kFloat32) {
  auto model = SmallCNN({.classes = 4});
  return image_model::batch_of(model, {3, 32, 32}, size, dtype);
}

}  // namespace

TEST_CASE("SmallCNN has the parameter names and sizes of the script's module", "[model]") {
  auto model = SmallCNN({.classes = 7});
  const auto parameters = model->named_parameters();

  CHECK(image_model::parameter_names(*model) ==
        std::vector<std::string>{"blocks.0.0.weight", "blocks.0.0.bias", "blocks.0.1.weight", "blocks.0.1.bias",
                                 "blocks.1.0.weight", "blocks.1.0.bias", "blocks.1.1.weight", "blocks.1.1.bias",
                                 "blocks.2.0.weight", "blocks.2.0.bias", "blocks.2.1.weight", "blocks.2.1.bias",
                                 "blocks.3.0.weight", "blocks.3.0.bias", "out_head.weight", "out_head.bias"});
  CHECK(parameters["blocks.0.0.weight"].sizes() == torch::IntArrayRef({32, 3, 3, 3}));
  CHECK(parameters["blocks.1.0.weight"].sizes() == torch::IntArrayRef({64, 32, 3, 3}));
  CHECK(parameters["blocks.2.0.weight"].sizes() == torch::IntArrayRef({128, 64, 3, 3}));
  CHECK(parameters["blocks.3.0.weight"].sizes() == torch::IntArrayRef({256, 8192}));
  CHECK(parameters["out_head.weight"].sizes() == torch::IntArrayRef({7, 256}));
  CHECK(model->embed_parameters().empty());
  CHECK(model->block_parameters(1).size() == 4);
  CHECK(model->block_parameters(3).size() == 2);
  CHECK(model->readout_parameters().size() == 2);
  CHECK(SmallCNNOptions{}.classes == 10);
}

TEST_CASE("SmallCNN is the network of its equations, in train and in eval mode", "[model]") {
  for (const bool train : {true, false}) {
    auto model = small_cnn(torch::kFloat64);
    model->train(train);
    const auto batch = images(3, torch::kFloat64);
    const auto parameters = model->named_parameters();

    auto h = batch.x;
    for (int l = 0; l < 3; ++l) {
      const auto at = "blocks." + std::to_string(l);
      h = torch::conv2d(h, parameters[at + ".0.weight"], parameters[at + ".0.bias"], 1, 1);
      h = image_model::batch_norm(*model, at + ".1", h).clamp_min(0);
      if (l > 0) h = h.unfold(2, 2, 2).unfold(3, 2, 2).amax({4, 5});
    }
    h = image_model::linear(*model, "blocks.3.0", h.flatten(1)).clamp_min(0);

    CHECK(distance(model->forward(batch.x), image_model::linear(*model, "out_head", h)) < 1e-12);
  }
}

TEST_CASE("SmallCNN's forward is the composition of its blocks, and its parameters are in one part each", "[model]") {
  CHECK(image_model::forward_is_the_composition(small_cnn(), images(3)) == "");
  CHECK(error_of([] { LocalTrainer(small_cnn(), DFA{}); }) == "(nothing was thrown)");
}

TEST_CASE("SmallCNN with the oracle's credit has back-propagation's gradients", "[model]") {
  CHECK(image_model::oracle_is_backprop(small_cnn(torch::kFloat64), images(3, torch::kFloat64)) == "");
}

TEST_CASE("a step on SmallCNN updates its BatchNorm statistics once", "[model]") {
  const auto make = [] { return small_cnn(); };
  CHECK(image_model::statistics_move_once(make, images(3), DFA{}) == "");
  CHECK(image_model::statistics_move_once(make, images(3), Oracle{}) == "");
  CHECK(image_model::statistics_move_once(make, images(3), EquilibriumPropagation{.steps = 2}) == "");
}

TEST_CASE("SmallCNN trains with every rule", "[model]") {
  const auto make = [] {
    torch::manual_seed(1);
    return SmallCNN({.classes = 4});
  };
  CHECK(image_model::every_rule_trains(make, images(4), 1e-3, 20) == "");
  CHECK(image_model::learned_rules_learn(make, images(4)) == "");
}

TEST_CASE("SmallCNN's credit a channel is that of every pixel, and an element has its own by option", "[model]") {
  const auto batch = images(3, torch::kFloat64);
  CHECK(image_model::credit_is_of_every_position(small_cnn(torch::kFloat64), batch) == "");

  const auto shapes = [&](const DFA& rule) {
    std::vector<std::vector<std::int64_t>> found;
    for (const auto& a : LocalTrainer(small_cnn(torch::kFloat64), rule).credits(batch.x, batch.y)) {
      found.push_back(a.defined() ? a.sizes().vec() : std::vector<std::int64_t>{});
    }
    return found;
  };
  using Shapes = std::vector<std::vector<std::int64_t>>;
  CHECK(shapes({}) == Shapes{{}, {3, 32, 1, 1}, {3, 64, 1, 1}, {3, 128, 1, 1}, {3, 256}});
  CHECK(shapes({.by_element = true}) == Shapes{{}, {3, 32, 32, 32}, {3, 64, 16, 16}, {3, 128, 8, 8}, {3, 256}});
}

TEST_CASE("SmallCNN computes the same whichever layout the images have", "[model]") {
  const auto batch = images(3);
  auto model = small_cnn();
  model->eval();

  const auto logits = model->forward(batch.x);

  CHECK(torch::equal(logits, model->forward(batch.x.contiguous(torch::MemoryFormat::ChannelsLast))));
  CHECK(torch::equal(logits, model->forward(batch.x.transpose(2, 3).contiguous().transpose(2, 3))));
}

TEST_CASE("SmallCNN takes images of another size, as its options say", "[model]") {
  torch::manual_seed(1);
  SmallCNN model({.classes = 4, .input = 1, .image = 8});
  image_model::enliven(*model);
  const auto batch = image_model::batch_of(model, {1, 8, 8}, 4, torch::kFloat32);

  CHECK(image_model::forward_is_the_composition(model, batch) == "");  // hidden shapes among it
  CHECK(model->named_parameters()["blocks.3.0.weight"].sizes() == torch::IntArrayRef({256, 512}));
  CHECK(std::isfinite(LocalTrainer(model, DFA{}).step(batch.x, batch.y).loss.item<double>()));
}

TEST_CASE("SmallCNN says which input it takes", "[model]") {
  auto model = small_cnn();

  CHECK(says(error_of([&] { model->forward(torch::zeros({2, 3072})); }),
             {"SmallCNN: the input is (2, 3072), expected (B, 3, 32, 32)"}));
  CHECK(says(error_of([&] { model->forward(torch::zeros({2, 1, 32, 32})); }), {"(2, 1, 32, 32)", "SmallCNNOptions"}));
  CHECK(says(error_of([&] {
               LocalTrainer(model, DFA{}).step(torch::zeros({2, 3, 28, 28}), torch::zeros({2}, torch::kInt64));
             }),
             {"(2, 3, 28, 28)"}));
  CHECK(says(error_of([] { SmallCNN({.classes = 0}); }), {"SmallCNN: classes is 0, expected at least 1"}));
  CHECK(says(error_of([] { SmallCNN({.input = 0}); }), {"SmallCNN: input is 0, expected at least 1"}));
  CHECK(says(error_of([] { SmallCNN({.image = 30}); }), {"SmallCNN: image is 30, expected a multiple of 4"}));
}
