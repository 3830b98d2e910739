// SPDX-License-Identifier: Apache-2.0
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>

#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/direct_kolen_pollack.hpp>
#include <creditlib/credit/forward_dfa.hpp>
#include <creditlib/credit/forward_gradient.hpp>
#include <creditlib/credit/grape.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/schedule/blend.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <vector>

#include "models.hpp"
#include "test.hpp"
#include "undifferentiable.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// A layer for 7 samples at most, which can be differentiated twice, or not.
struct ForFewImpl : torch::nn::Module {
  torch::Tensor forward(const torch::Tensor& h) {
    TORCH_CHECK(h.size(0) <= 7, "ForFew: more than 7 samples");
    return once ? attention->forward(h) : h.tanh();
  }
  bool once = false;
  FusedAttention attention;
};
TORCH_MODULE(ForFew);

/// Blocks with BatchNorm and Dropout, and this layer.
SequentialBlocks drawing_network(const torch::nn::AnyModule& layer) {
  using namespace torch::nn;
  torch::manual_seed(1);
  return lively(
      SequentialBlocks(SequentialBlocksOptions{
          .embed = Sequential(Linear(6, 5), Dropout(0.2)),
          .blocks = {Sequential(Linear(5, 5), BatchNorm1d(5), Tanh(), Dropout(0.2)), Sequential(Linear(5, 5), layer)},
          .readout = Sequential(Linear(5, 4)),
          .example = torch::zeros({1, 6})}),
      torch::kFloat64);
}

Batch few() {
  torch::manual_seed(3);
  const auto x = torch::randn({7, 6}, torch::kFloat64);
  return {x, torch::randint(4, {7})};
}

}  // namespace

TEST_CASE("a trainer of a rule that pushes forward is not made for a network that cannot be", "[trace]") {
  const auto refused = [](auto model, const auto& rule, const auto&... policies) {
    return error_of([&] { LocalTrainer(model, rule, {}, policies...); });
  };
  const auto all_say = [&](auto model, std::initializer_list<std::string> parts) {
    CHECK(says(refused(model, ForwardDFA{}), parts));
    CHECK(says(refused(model, GrAPE{}), parts));
    CHECK(says(refused(model, ForwardGradient{}), parts));
    CHECK(says(refused(model, Mix{DFA{}, GrAPE{}}, SwitchAt{.epoch = 5}), parts));  // whose turn comes later
    CHECK(refused(model, DFA{}) == "(nothing was thrown)");
  };

  all_say(with_layer(FusedAttention()),
          {"block 1", "_scaled_dot_product_flash_attention_for_cpu", "rule without wants_pushforward"});
  all_say(with_layer(BehindAutograd()), {"block 1", "writes memory itself", "with tensor operations"});
  using namespace torch::nn;
  SequentialBlocks in_readout({.blocks = {Sequential(Linear(6, 5))},
                               .readout = Sequential(Linear(5, 4), FusedAttention()),
                               .example = torch::zeros({1, 6})});
  CHECK(says(refused(in_readout, ForwardGradient{}), {"the readout has an operation"}));
  // No credit comes to h_0 without an embed, so that no direction goes through block 0.
  SequentialBlocks in_block_0({.blocks = {Sequential(FusedAttention(), Linear(6, 5))},
                               .readout = Sequential(Linear(5, 4)),
                               .example = torch::zeros({1, 6})});
  CHECK(refused(in_block_0, ForwardGradient{}) == "(nothing was thrown)");
}

TEST_CASE("looking whether a network can be pushed forward changes nothing", "[trace]") {
  const auto model = drawing_network(torch::nn::AnyModule(torch::nn::Tanh()));
  torch::manual_seed(5);
  const auto buffers = copies(model->buffers());
  const auto generator = global_generator_state();

  LocalTrainer trainer(model, ForwardGradient{});

  CHECK(same(buffers, copies(model->buffers())));
  CHECK(torch::equal(generator, global_generator_state()));
  for (const auto& parameter : model->parameters()) CHECK_FALSE(parameter.grad().defined());
}

TEST_CASE("what no network shows before its first batch is refused before that step changes anything", "[trace]") {
  const auto after = [](bool failing_first, const auto& rule, const auto&... policies) {
    ForFew layer;
    const auto model = drawing_network(torch::nn::AnyModule(layer));
    const auto [x, y] = few();
    LocalTrainer trainer(model, rule, {}, policies...);
    torch::manual_seed(5);
    if (failing_first) {
      layer->once = true;
      for (int i = 0; i < 2; ++i) {
        CHECK(says(error_of([&] { trainer.step(x, y); }), {"block 1", "LibTorch cannot differentiate"}));
        CHECK(says(error_of([&] { trainer.learn(x, y); }), {"block 1", "LibTorch cannot differentiate"}));
      }
      layer->once = false;
    }
    for (int i = 0; i < 2; ++i) trainer.step(x, y);
    auto all = copies(model->parameters());
    for (const auto& buffer : copies(model->buffers())) all.push_back(buffer);
    all.push_back(global_generator_state());
    return all;
  };
  const auto check = [&](const auto& rule, const auto&... policies) {
    CHECK(same(after(true, rule, policies...), after(false, rule, policies...)));
  };

  check(GrAPE{});
  check(ForwardGradient{.directions = 2});
  check(Mix{DirectKolenPollack{.lr = 0.1, .start = FeedbackStart::Random}, ForwardDFA{.lr = 0.1}}, Blend{});
}
