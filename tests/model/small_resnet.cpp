// SPDX-License-Identifier: Apache-2.0
#include <creditlib/model/small_resnet.hpp>

#include "../test.hpp"
#include "image_models.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

SmallResNet small_resnet(torch::Dtype dtype = torch::kFloat32) {
  torch::manual_seed(1);
  SmallResNet model({.channels = 5, .classes = 4, .blocks = 2, .input = 2, .image = 6});
  image_model::enliven(*model);
  model->to(dtype);
  return model;
}

Batch images(std::int64_t size, torch::Dtype dtype = torch::kFloat32) {
  auto model = small_resnet();
  return image_model::batch_of(model, {2, 6, 6}, size, dtype);
}

}  // namespace

TEST_CASE("SmallResNet has the reference scripts' parameter names", "[model]") {
  auto model = SmallResNet({.channels = 5, .classes = 4, .blocks = 1});
  const auto parameters = model->named_parameters();

  CHECK(image_model::parameter_names(*model) ==
        std::vector<std::string>{"stem_conv.weight", "stem_bn.weight", "stem_bn.bias", "blocks.0.conv1.weight",
                                 "blocks.0.bn1.weight", "blocks.0.bn1.bias", "blocks.0.conv2.weight",
                                 "blocks.0.bn2.weight", "blocks.0.bn2.bias", "out_head.weight", "out_head.bias"});
  CHECK(parameters["stem_conv.weight"].sizes() == torch::IntArrayRef({5, 3, 3, 3}));
  CHECK(parameters["blocks.0.conv2.weight"].sizes() == torch::IntArrayRef({5, 5, 3, 3}));
  CHECK(model->embed_parameters().size() == 3);
  CHECK(model->block_parameters(0).size() == 6);
  CHECK(model->readout_parameters().size() == 2);
  const SmallResNetOptions options;
  CHECK(options.channels == 64);
  CHECK(options.classes == 10);
  CHECK(options.blocks == 4);
  CHECK(SmallResNet(options)->hidden_shape(4) == std::vector<std::int64_t>{64, 32, 32});
}

TEST_CASE("SmallResNet is the network of its equations, in train and in eval mode", "[model]") {
  for (const bool train : {true, false}) {
    auto model = small_resnet(torch::kFloat64);
    model->train(train);
    const auto x = images(3, torch::kFloat64).x;
    const auto parameters = model->named_parameters();
    const auto normalised_convolution = [&](const std::string& conv, const std::string& bn, const torch::Tensor& h) {
      return image_model::batch_norm(*model, bn, torch::conv2d(h, parameters[conv + ".weight"], {}, 1, 1));
    };

    auto h = normalised_convolution("stem_conv", "stem_bn", x).clamp_min(0);
    CHECK(distance(model->embed(x), h) < 1e-12);
    for (std::int64_t l = 0; l < 2; ++l) {
      const auto at = "blocks." + std::to_string(l);
      const auto inner = normalised_convolution(at + ".conv1", at + ".bn1", h).clamp_min(0);
      const auto out = (h + normalised_convolution(at + ".conv2", at + ".bn2", inner)).clamp_min(0);
      CHECK(distance(model->block(l, h), out - h) < 1e-12);
      CHECK(distance(model->join(l, h, model->block(l, h)), out) < 1e-12);
      h = out;
    }
    const auto logits = image_model::linear(*model, "out_head", h.mean({2, 3}));
    CHECK(distance(model->forward(x), logits) < 1e-12);
  }
}

TEST_CASE("SmallResNet's forward is the composition of its blocks, and its parameters are in one part each",
          "[model]") {
  CHECK(image_model::forward_is_the_composition(small_resnet(), images(3)) == "");
  CHECK(error_of([] { LocalTrainer(small_resnet(), DFA{}); }) == "(nothing was thrown)");
}

TEST_CASE("SmallResNet with the oracle's credit has back-propagation's gradients", "[model]") {
  CHECK(image_model::oracle_is_backprop(small_resnet(torch::kFloat64), images(5, torch::kFloat64)) == "");
}

TEST_CASE("a step on SmallResNet updates its BatchNorm statistics once", "[model]") {
  const auto make = [] { return small_resnet(); };
  CHECK(image_model::statistics_move_once(make, images(5), DFA{}) == "");
  CHECK(image_model::statistics_move_once(make, images(5), Oracle{}) == "");
  CHECK(image_model::statistics_move_once(make, images(5), EquilibriumPropagation{.steps = 2}) == "");
}

TEST_CASE("SmallResNet trains with every rule", "[model]") {
  const auto make = [] {
    torch::manual_seed(1);
    return SmallResNet({.channels = 5, .classes = 4, .blocks = 2, .input = 2, .image = 6});
  };
  CHECK(image_model::every_rule_trains(make, images(8), 1e-2, 40) == "");
  CHECK(image_model::learned_rules_learn(make, images(8)) == "");
}

TEST_CASE("SmallResNet's credit a channel is that of every pixel", "[model]") {
  CHECK(image_model::credit_is_of_every_position(small_resnet(torch::kFloat64), images(5, torch::kFloat64)) == "");
}

TEST_CASE("SmallResNet computes the same whichever layout the images have", "[model]") {
  const auto batch = images(5);
  auto model = small_resnet();
  model->eval();

  const auto logits = model->forward(batch.x);

  CHECK(torch::equal(logits, model->forward(batch.x.contiguous(torch::MemoryFormat::ChannelsLast))));
  CHECK(torch::equal(logits, model->forward(batch.x.transpose(2, 3).contiguous().transpose(2, 3))));
}

TEST_CASE("SmallResNet without blocks is the readout on the stem", "[model]") {
  auto model = SmallResNet({.channels = 5, .classes = 4, .blocks = 0, .input = 2, .image = 6});
  const auto batch = images(5);

  CHECK(BackpropTrainer(model).gradients(batch.x, batch.y).size() == 5);
  CHECK(model->hidden_shape(0) == std::vector<std::int64_t>{5, 6, 6});
}

TEST_CASE("SmallResNet says which input and which sizes it takes", "[model]") {
  auto model = small_resnet();

  CHECK(says(error_of([&] { model->forward(torch::zeros({2, 72})); }),
             {"SmallResNet: the input is (2, 72), expected (B, 2, 6, 6)", "SmallResNetOptions::input"}));
  CHECK(says(error_of([&] { model->forward(torch::zeros({2, 2, 8, 8})); }), {"(2, 2, 8, 8)"}));
  CHECK(says(error_of([] { SmallResNet({.channels = 0}); }), {"SmallResNet: channels 0"}));
  CHECK(says(error_of([] { SmallResNet({.classes = 0}); }), {"classes 0"}));
  CHECK(says(error_of([] { SmallResNet({.blocks = -1}); }), {"blocks -1"}));
  CHECK(says(error_of([] { SmallResNet({.image = 0}); }), {"image 0"}));
}
