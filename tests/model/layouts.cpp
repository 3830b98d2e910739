// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/normalizer/raw.hpp>

#include "models.hpp"
#include "rules.hpp"
#include "test.hpp"

using namespace creditlib;
using namespace creditlib::test;
using torch::nn::Conv1d;
using torch::nn::Conv1dOptions;
using torch::nn::Conv3d;
using torch::nn::Conv3dOptions;
using torch::nn::Flatten;
using torch::nn::Functional;
using torch::nn::Linear;
using torch::nn::Sequential;

namespace {

/// A layer that nobody knows, which gives its input.
Functional own_layer() {
  return Functional([](const torch::Tensor& x) { return x.clone(); });
}

SequentialBlocksOptions sequence_stages() {
  return {.embed = Sequential(Conv1d(Conv1dOptions(2, 3, 3).padding(1))),
          .blocks = {Sequential(Conv1d(Conv1dOptions(3, 5, 3).padding(1)), torch::nn::Tanh())},
          .readout = Sequential(Flatten(), Linear(5 * 6, 4)),
          .example = torch::zeros({1, 2, 6})};
}

/// LibTorch's layer, which reads (positions, samples, features), as it comes or with samples first.
struct AttentionImpl : torch::nn::Cloneable<AttentionImpl> {
  explicit AttentionImpl(bool first) : samples_first(first) { reset(); }
  void reset() override {
    layer = register_module("layer", torch::nn::TransformerEncoderLayer(
                                         torch::nn::TransformerEncoderLayerOptions(6, 2).dim_feedforward(8)));
  }
  torch::Tensor forward(const torch::Tensor& h) {
    return samples_first ? layer(h.transpose(0, 1)).transpose(0, 1) : layer(h);
  }
  bool samples_first;
  torch::nn::TransformerEncoderLayer layer = nullptr;
};
TORCH_MODULE(Attention);

struct SequenceNetImpl : BlockModule<SequenceNetImpl> {
  explicit SequenceNetImpl(bool says_layout = true) {
    register_block(Conv1d(Conv1dOptions(2, 3, 3).padding(1)));
    head = register_readout("head", Linear(3 * 6, 4));
    if (says_layout) set_layout(HiddenLayout::FeaturesFirst);
    find_shapes(torch::zeros({1, 2, 6}));
  }
  torch::Tensor readout(const torch::Tensor& h) { return head(h.flatten(1)); }
  Linear head = nullptr;
};
using SequenceNet = ModelHolder<SequenceNetImpl>;

}  // namespace

TEST_CASE("features of (B, C, T) and (B, C, D, H, W) are their channels", "[model][layout]") {
  const std::vector<std::int64_t> sequence{5, 7}, volume{3, 2, 4, 6};
  CHECK(features(sequence) == 7);  // as (N, d)
  CHECK(features(sequence, HiddenLayout::FeaturesFirst) == 5);
  CHECK(features(volume) == 3);
  const auto a = torch::arange(10.0).view({2, 5}), b = torch::arange(6.0).view({2, 3});
  CHECK(spread(a, sequence, HiddenLayout::FeaturesFirst).sizes() == torch::IntArrayRef({2, 5, 1}));
  CHECK(spread(b, volume).sizes() == torch::IntArrayRef({2, 3, 1, 1, 1}));
  const auto ones = torch::ones({2, 5, 7});
  CHECK(torch::equal(pooled(ones, HiddenLayout::FeaturesFirst), torch::full({2, 5}, 7.0)));
  CHECK(torch::equal(pooled(ones), torch::full({2, 7}, 5.0)));
  CHECK(torch::equal(pooled(torch::ones({2, 3, 2, 4, 6})), torch::full({2, 3}, 48.0)));
}

TEST_CASE("DFA gives a convolution over time one value per channel", "[model][layout]") {
  torch::manual_seed(3);
  auto options = sequence_stages();
  SequentialBlocks model(options);
  CHECK(model->hidden_layout(1) == HiddenLayout::FeaturesFirst);
  const auto x = torch::randn({7, 2, 6}), y = torch::randint(4, {7});
  const auto B0 = torch::randn({3, 4}), B1 = torch::randn({5, 4});
  LocalTrainer trainer(model, DFA{.feedback = {B0, B1}}, {}, Raw{});
  const auto e = model->forward(x).softmax(1) - torch::nn::functional::one_hot(y, 4);
  const auto a = e.detach().mm(B1.t()).unsqueeze(2);
  CHECK(torch::allclose(trainer.credits(x, y)[1], a, 1e-5, 1e-6));

  // The gradient of the mean over the batch of <f, a>, a the same at every time step.
  const auto h = model->embed(x).detach();
  const auto weight = options.blocks[0]->ptr(0)->parameters()[0];
  const auto expected = torch::autograd::grad({(model->block(0, h) * a).sum() / 7}, {weight})[0];
  CHECK(torch::allclose(trainer.gradients(x, y)[2], expected, 1e-4, 1e-6));
}

TEST_CASE("FA sums credit for (B, C, T) over time", "[model][layout]") {
  torch::manual_seed(4);
  auto options = sequence_stages();
  options.blocks.push_back(Sequential(Conv1d(Conv1dOptions(5, 5, 3).padding(1))));
  SequentialBlocks model(options);
  const auto x = torch::randn({7, 2, 6}), y = torch::randint(4, {7});
  LocalTrainer trainer(model, FA{}, {});
  const auto credits = trainer.raw_credits(x, y);
  CHECK(torch::allclose(credits[1], credits[2].sum(2).mm(trainer.state().feedback[1]).unsqueeze(2), 1e-5, 1e-6));
}

TEST_CASE("blocks over volumes (B, C, D, H, W) have one credit per channel", "[model][layout]") {
  SequentialBlocks model({.blocks = {Sequential(Conv3d(Conv3dOptions(2, 3, 3).padding(1)))},
                          .readout = Sequential(Flatten(), Linear(3 * 2 * 4 * 4, 4)),
                          .example = torch::zeros({1, 2, 2, 4, 4})});
  LocalTrainer trainer(model, DFA{}, {});
  CHECK(trainer.state().feedback[1].sizes() == torch::IntArrayRef({3, 4}));
  CHECK(trainer.credits(torch::randn({5, 2, 2, 4, 4}), torch::randint(4, {5}))[1].sizes() ==
        torch::IntArrayRef({5, 3, 1, 1, 1}));
}

TEST_CASE("a layout that the layers do not tell is asked for", "[model][layout]") {
  auto options = sequence_stages();
  options.blocks[0]->push_back(own_layer());
  CHECK(says(
      error_of([&] { SequentialBlocks{options}; }),
      {"SequentialBlocks: h_1 is (1, 5, 6)", "(B, C, T)", "(B, N, d)", "set .layout to HiddenLayout::FeaturesFirst"}));
  options.layout = HiddenLayout::FeaturesFirst;
  SequentialBlocks said(options);
  CHECK(said->hidden_layout(1) == HiddenLayout::FeaturesFirst);
  CHECK(said->clone()->hidden_layout(1) == HiddenLayout::FeaturesFirst);
  LocalTrainer trainer(said, DFA{}, {});
  CHECK(trainer.state().feedback[1].size(0) == 5);

  // Element by element nothing changes, and a sum has the layout of what is added.
  auto square = sequence_stages();
  square.blocks = {
      Sequential(own_layer(), Conv1d(Conv1dOptions(3, 3, 3).padding(1)), torch::nn::GELU(), torch::nn::Dropout()),
      Sequential(own_layer())};
  square.readout = Sequential(Flatten(), Linear(3 * 6, 4));
  square.residual = true;
  CHECK(SequentialBlocks(square)->hidden_layout(2) == HiddenLayout::FeaturesFirst);
}

TEST_CASE("a model of one's own with layers over time says its layout", "[model][layout]") {
  CHECK(says(error_of([] { SequenceNetImpl{false}; }), {"h_1 is (1, 3, 6)", "set_layout"}));
  SequenceNet net;
  LocalTrainer trainer(net, DFA{}, {});
  CHECK(trainer.state().feedback[1].sizes() == torch::IntArrayRef({3, 4}));
}

TEST_CASE("credit per position, the same for all features, is refused", "[model][layout]") {
  struct FromShapes {  // takes (C, T) for (N, d)
    struct State {
      std::vector<torch::Tensor> feedback;
      std::vector<std::vector<std::int64_t>> shapes;
      std::vector<torch::Tensor> credit(SequentialBlocks&, const Trace& trace) const {
        std::vector<torch::Tensor> credits;
        for (std::size_t l = 0; l < feedback.size(); ++l) {
          credits.push_back(spread(trace.error.mm(feedback[l].t()), shapes[l]));
        }
        return credits;
      }
      NamedTensors named_tensors() const { return numbered("feedback", feedback); }
    };
    State bind(SequentialBlocks& model, const BindContext& context) const {
      State state{{}, hidden_shapes(model)};
      for (const auto& shape : state.shapes)
        state.feedback.push_back(context.randn({features(shape), model->classes()}));
      return state;
    }
  };
  LocalTrainer trainer(SequentialBlocks(sequence_stages()), FromShapes{}, {});
  CHECK(says(error_of([&] { trainer.step(torch::randn({7, 2, 6}), torch::randint(4, {7})); }),
             {"one value per position, the same for all features", "spread(a, model, l)"}));
}

TEST_CASE("a mean over positions does not take channels for positions", "[model][layout]") {
  CHECK(says(error_of([] {
               LocalTrainer(SequentialBlocks(sequence_stages()), DFA{}, {}, InnerProduct{.mean_over_positions = true});
             }),
             {"mean_over_positions", "h_0 is (B, C, T)"}));
}

TEST_CASE("a stage that mixes samples is named", "[model][layout]") {
  const auto with = [](bool samples_first) {
    return SequentialBlocksOptions{.embed = Sequential(Linear(3, 6)),
                                   .blocks = {Sequential(Linear(6, 6)), Sequential(Attention(samples_first))},
                                   .readout = Sequential(Flatten(), Linear(5 * 6, 4)),
                                   .example = torch::zeros({1, 5, 3}),
                                   .layout = HiddenLayout::FeaturesLast};
  };
  torch::manual_seed(5);
  CHECK(says(error_of([&] { SequentialBlocks{with(false)}; }),
             {"SequentialBlocks: block 1 mixes samples", "dimension 0", "transpose"}));
  SequentialBlocks right(with(true));
  CHECK(right->hidden_shape(2) == std::vector<std::int64_t>{5, 6});
}

TEST_CASE("a stage that mixes samples is refused behind a layer norm too", "[model]") {
  using namespace torch::nn;
  const auto mixing = [] {
    SequentialBlocks({.blocks = {Sequential(LayerNorm(LayerNormOptions({8})), TransformerEncoderLayer(8, 2))},
                      .readout = Sequential(Linear(8, 3)),
                      .example = torch::zeros({1, 5, 8})});
  };
  CHECK(error_of(mixing).find("samples") != std::string::npos);
}
