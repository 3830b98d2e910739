// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/block_module.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <string>
#include <vector>

#include "models.hpp"
#include "test.hpp"

// Readouts whose logits have their classes in another dimension than objectives take them in.

using namespace creditlib;
using namespace creditlib::test;
using torch::nn::Conv1d;
using torch::nn::Conv1dOptions;
using torch::nn::Conv2d;
using torch::nn::Conv2dOptions;
using torch::nn::Functional;
using torch::nn::GELU;
using torch::nn::Linear;
using torch::nn::Sequential;

namespace {

constexpr std::int64_t steps_and_classes = 4;  // as many of both, so that shapes do not tell

Conv1d head_over_time(std::int64_t classes = steps_and_classes) { return Conv1d(Conv1dOptions(3, classes, 1)); }

/// Sequences (B, 2, T), with features first.
SequentialBlocksOptions over_time(Stage readout, std::int64_t steps = steps_and_classes) {
  return {.blocks = {Sequential(Conv1d(Conv1dOptions(2, 3, 3).padding(1)), GELU())},
          .readout = std::move(readout),
          .example = torch::zeros({1, 2, steps})};
}

/// A head whose class nobody knows.
struct HeadImpl : torch::nn::Module {
  explicit HeadImpl(bool transposes_) : transposes(transposes_), layer(register_module("layer", head_over_time())) {}
  torch::Tensor forward(const torch::Tensor& h) { return transposes ? layer(h).transpose(1, 2) : layer(h); }
  bool transposes;
  Conv1d layer;
};
TORCH_MODULE(Head);

struct HeadedNetImpl : BlockModule<HeadedNetImpl> {
  explicit HeadedNetImpl(bool transposes_ = true) : transposes(transposes_) {
    register_block(Conv1d(Conv1dOptions(2, 3, 3).padding(1)));
    head = register_readout("head", head_over_time());
    set_layout(HiddenLayout::FeaturesFirst);
    find_shapes(torch::zeros({1, 2, steps_and_classes}));
  }
  torch::Tensor readout(const torch::Tensor& h) { return transposes ? head(h).transpose(1, 2) : head(h); }
  bool transposes;
  Conv1d head = nullptr;
};
using HeadedNet = ModelHolder<HeadedNetImpl>;

std::string refused(const SequentialBlocksOptions& options) {
  return error_of([&] { SequentialBlocks{options}; });
}

}  // namespace

TEST_CASE("logits (B, C, T) of a Conv1d are not taken for (B, N, C)", "[model][layout]") {
  CHECK(says(refused(over_time(head_over_time())),
             {"SequentialBlocks: the readout gives (1, 4, 4)", "(B, N, classes)", "z.transpose(1, 2)"}));
  CHECK(says(refused(over_time(head_over_time(5), 7)), {"the readout gives (1, 5, 7)", "z.transpose(1, 2)"}));
  CHECK(says(refused(over_time(Sequential(head_over_time(), torch::nn::Tanh()))), {"(B, N, classes)"}));
  CHECK(says(refused(over_time(Head(false))), {"(B, N, classes)"}));
  CHECK(says(error_of([] { HeadedNetImpl{false}; }), {"HeadedNet: the readout gives (1, 4, 4)", "transpose(1, 2)"}));
}

TEST_CASE("the cure for logits (B, C, T) has PyTorch's gradients", "[model][layout]") {
  torch::manual_seed(1);
  const auto x = torch::randn({5, 2, steps_and_classes}), y = torch::randint(steps_and_classes, {5, steps_and_classes});
  const auto check = [&](auto model) {
    CHECK(model->logits_shape() == std::vector<std::int64_t>{4, 4});
    const auto loss = at::cross_entropy_loss(model->forward(x).transpose(1, 2), y);
    CHECK(distance(BackpropTrainer(model, {}).gradients(x, y), torch::autograd::grad({loss}, model->parameters())) <
          1e-5);
    LocalTrainer(model, DFA{}, {}).step(x, y);
  };
  const Functional transposed([](const torch::Tensor& z) { return z.transpose(1, 2); });
  check(SequentialBlocks(over_time(Sequential(head_over_time(), transposed))));
  check(SequentialBlocks(over_time(Head(true))));
  check(HeadedNet());
  // Over features that are last already nothing has to be said.
  check(SequentialBlocks(over_time(Sequential(transposed, Linear(3, steps_and_classes)))));
}

TEST_CASE("logits (B, H, W, C) of a Linear are not taken for (B, C, H, W)", "[model][layout]") {
  const Functional last([](const torch::Tensor& z) { return z.movedim(1, -1); }),
      first([](const torch::Tensor& z) { return z.movedim(-1, 1); });
  const auto over_pixels = [](const Stage& readout) {
    return SequentialBlocksOptions{.blocks = {Sequential(Conv2d(Conv2dOptions(2, 3, 3).padding(1)), GELU())},
                                   .readout = readout,
                                   .example = torch::zeros({1, 2, 4, 5})};
  };
  CHECK(says(refused(over_pixels(Sequential(last, Linear(3, 4)))),
             {"the readout gives (1, 4, 5, 4)", "(B, classes, H, W)", "z.movedim(-1, 1)"}));
  CHECK(refused(over_pixels(Sequential(last, Linear(3, 4), first))) == "(nothing was thrown)");
  CHECK(refused(over_pixels(Conv2d(Conv2dOptions(3, 4, 1)))) == "(nothing was thrown)");
}

TEST_CASE("a readout over time that leaves no positions is taken", "[model][layout]") {
  const Sequential pooling(head_over_time(), torch::nn::AdaptiveAvgPool1d(1), torch::nn::Flatten());
  CHECK(SequentialBlocks(over_time(pooling))->logits_shape() == std::vector<std::int64_t>{4});
}
