// SPDX-License-Identifier: Apache-2.0
#include <torch/nn/modules/transformerlayer.h>

#include <creditlib/credit/detail/refuse_draws.hpp>
#include <creditlib/credit/equilibrium_propagation.hpp>
#include <creditlib/credit/local_heads.hpp>
#include <creditlib/local_trainer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

struct Layer {
  std::shared_ptr<torch::nn::Module> module;
  std::function<void()> run;
  std::string said;  ///< a part of the message; empty if the layer draws nothing
};

/// A layer and an input for it.
template <class Module>
Layer layer(Module module, const torch::Tensor& x, const std::string& said) {
  return {module.ptr(), [module, x]() mutable { module->forward(x); }, said};
}

std::vector<Layer> layers() {
  using namespace torch::nn;
  const auto rows = torch::randn({4, 6}), steps = torch::randn({3, 4, 6}), maps = torch::randn({4, 6, 6, 6}),
             volumes = torch::randn({2, 3, 6, 6, 6});
  const auto recurrent = [](auto options, double dropout, std::int64_t number) {
    return options.num_layers(number).dropout(dropout);
  };
  const auto fractions = FractionalMaxPool2dOptions(2).output_size(3);
  const auto encoder = [](double dropout) {
    return TransformerEncoderLayer(TransformerEncoderLayerOptions(6, 2).dim_feedforward(8).dropout(dropout));
  };
  const auto attention = [&](double dropout) -> Layer {
    MultiheadAttention module(MultiheadAttentionOptions(6, 2).dropout(dropout));
    return {module.ptr(), [module, steps]() mutable { module->forward(steps, steps, steps); },
            dropout > 0 ? "MultiheadAttention with dropout = 0.3" : ""};
  };
  return {layer(Dropout(0.3), rows, "Dropout with p = 0.3"), layer(Dropout2d(0.3), maps, "Dropout2d with p = 0.3"),
          layer(Dropout3d(0.3), volumes, "Dropout3d with p = 0.3"),
          layer(AlphaDropout(0.3), rows, "AlphaDropout with p = 0.3"),
          layer(FeatureAlphaDropout(0.3), maps, "FeatureAlphaDropout with p = 0.3"),
          layer(RNN(recurrent(RNNOptions(6, 5), 0.3, 2)), steps, "RNN with dropout = 0.3"),
          layer(LSTM(recurrent(LSTMOptions(6, 5), 0.3, 2)), steps, "LSTM with dropout = 0.3"),
          layer(GRU(recurrent(GRUOptions(6, 5), 0.3, 2)), steps, "GRU with dropout = 0.3"),
          layer(RReLU(), rows, "RReLU with slopes from 0.125 to 0.333333"),
          layer(FractionalMaxPool2d(fractions), maps, "FractionalMaxPool2d without _random_samples"),
          layer(FractionalMaxPool3d(FractionalMaxPool3dOptions(2).output_size(3)), volumes,
                "FractionalMaxPool3d without _random_samples"),
          layer(encoder(0.3), steps, "self_attn is MultiheadAttention with dropout = 0.3"), attention(0.3),
          // Their kin that draw nothing.
          layer(Dropout(0), rows, ""), layer(AlphaDropout(0), rows, ""),
          layer(RNN(recurrent(RNNOptions(6, 5), 0, 2)), steps, ""),
          layer(LSTM(recurrent(LSTMOptions(6, 5), 0.3, 1)), steps, ""), layer(LeakyReLU(), rows, ""),
          layer(FractionalMaxPool2d(FractionalMaxPool2dOptions(fractions)._random_samples(torch::rand({4, 6, 2}))),
                maps, ""),
          layer(encoder(0), steps, ""), attention(0)};
}

/// A head with this layer on top.
struct HeadWith {
  std::function<torch::nn::AnyModule()> layer;

  torch::nn::Sequential module(const HeadInput& input) const {
    torch::nn::Sequential net(torch::nn::Linear(input.features(), input.classes));
    net->push_back(layer());
    return net;
  }
  torch::Tensor loss(torch::nn::Sequential& net, const torch::Tensor& h, const Trace& trace) const {
    return trace.loss(net->forward(h));
  }
};

}  // namespace

TEST_CASE("LibTorch's layers that draw in train mode are refused, and those that draw nothing are not", "[credit]") {
  torch::manual_seed(1);
  for (const auto& one : layers()) {
    const auto message = error_of([&] { creditlib::detail::refuse_draws("Rule", *one.module, "it is another"); });
    INFO(one.module->name() << ": " << message);
    const auto before = global_generator_state();
    one.run();

    const bool draws = !torch::equal(before, global_generator_state());
    CHECK(draws == (message != "(nothing was thrown)"));
    CHECK(draws == !one.said.empty());
    if (draws) CHECK(says(message, {"Rule: ", one.said, ", so that it is another; "}));
  }
}

TEST_CASE("heads, and networks of equilibrium propagation, with such layers are refused when the trainer is made",
          "[credit][local_heads]") {
  using namespace torch::nn;
  const auto head = [](const std::function<AnyModule()>& layer) {
    return error_of([&] { LocalTrainer(stages(Kind::plain), LocalHeads<HeadWith>{.head = {layer}}); });
  };
  CHECK(says(head([] { return AnyModule(RReLU()); }),
             {"LocalHeads: the head on h_0: 1 is RReLU with slopes from 0.125", "or use LeakyReLU."}));
  CHECK(says(head([] { return AnyModule(Dropout(0.3)); }), {"1 is Dropout with p = 0.3", "set its p to 0."}));
  CHECK(head([] { return AnyModule(RReLU(RReLUOptions().lower(0.2).upper(0.2))); }) == "(nothing was thrown)");
  SequentialBlocks model({.blocks = {Sequential(Linear(6, 6)), Sequential(RReLU(), Linear(6, 6))},
                          .readout = Sequential(Linear(6, small_classes)),
                          .example = torch::zeros({1, 6})});
  CHECK(says(error_of([&] { LocalTrainer(model, EquilibriumPropagation{}); }), {"blocks.1.0 is RReLU"}));
}
