// SPDX-License-Identifier: Apache-2.0
#include <torch/nn/modules/batchnorm.h>

#include <creditlib/credit/decoupled_greedy.hpp>

#include "../trace_of.hpp"
#include "by_hand.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

namespace functional = torch::nn::functional;

/// The auxiliary net on h, (B, d), (B, d, T) or (B, d, H, W) convolved, written out with torch's own modules.
torch::Tensor plain_net(const creditlib::detail::AuxiliaryNetImpl& net, torch::Tensor h) {
  const auto positions = h.dim() - 2;
  for (std::size_t i = 0; i < net.layers.size(); ++i) {
    const auto& W = net.layers[i]->weight;
    if (positions == 0) h = functional::linear(h, W);
    if (positions == 1) h = functional::conv1d(h, W, functional::Conv1dFuncOptions().padding(1));
    if (positions == 2) h = functional::conv2d(h, W, functional::Conv2dFuncOptions().padding(1));
    torch::nn::BatchNorm2d norm(h.size(1));
    norm->to(torch::kFloat64);
    norm->weight = net.scales[i];
    norm->bias = net.shifts[i];
    h = norm(h.reshape({h.size(0), h.size(1), -1, 1})).view(h.sizes()).relu();
  }
  if (positions == 1) h = functional::adaptive_avg_pool1d(h, functional::AdaptiveAvgPool1dFuncOptions(2));
  if (positions == 2) h = functional::adaptive_avg_pool2d(h, functional::AdaptiveAvgPool2dFuncOptions({2, 2}));
  return functional::linear(h.flatten(1), net.scores->weight, net.scores->bias);
}

auto greedy_on(SequentialBlocks& model, const DecoupledGreedy& rule) {
  auto state = rule.bind(model, context(torch::kFloat64));
  torch::manual_seed(4);
  const torch::NoGradGuard no_grad;
  for (const auto& parameter : state.nets.parameters())
    torch::Tensor(parameter).add_(torch::randn_like(parameter), 0.2);
  return state;
}

}  // namespace

TEST_CASE("DecoupledGreedy's credit is the gradient of each auxiliary net's cross-entropy",
          "[credit][decoupled_greedy]") {
  for (const auto kind : {Kind::plain, Kind::conv, Kind::sequence}) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64);
    const auto trace = trace_of(model, batch_for(kind, torch::kFloat64));
    const auto state = greedy_on(model, {});

    const auto credits = state.credit(model, trace);

    CHECK(state.nets.size() == credits.size() - 1);
    for (std::size_t l = 0; l + 1 < credits.size(); ++l) {
      const auto h = trace.hidden[l].clone().requires_grad_();
      const auto logits = plain_net(*state.nets[l], h);
      const auto loss =
          functional::cross_entropy(logits, trace.target, functional::CrossEntropyFuncOptions().reduction(torch::kSum));
      CHECK(distance(credits[l], torch::autograd::grad({loss}, {h})[0]) < 1e-12);
    }
    CHECK(torch::equal(credits.back(), trace.loss_gradient()));
  }
}

TEST_CASE("DecoupledGreedy on tokens has the same layers at every one", "[credit][decoupled_greedy]") {
  auto model = stages(Kind::tokens, torch::kFloat64);
  const auto batch = batch_for(Kind::tokens, torch::kFloat64);
  const auto state = greedy_on(model, {.layers = 1});
  const auto trace = trace_of(model, batch);
  const auto& net = *state.nets[0];

  const auto rows = functional::linear(trace.hidden[0], net.layers[0]->weight).flatten(0, 1);
  torch::nn::BatchNorm1d norm(rows.size(1));
  norm->to(torch::kFloat64);
  norm->weight = net.scales[0];
  norm->bias = net.shifts[0];
  const auto normed = norm(rows).view(trace.hidden[0].sizes()).relu();
  // Two cells of two tokens each, features first.
  const auto cells = normed.view({7, 2, 2, -1}).mean(2).transpose(1, 2).flatten(1);
  const auto expected = functional::linear(cells, net.scores->weight, net.scores->bias);
  CHECK(distance(state.nets[0]->forward(trace.hidden[0]), expected) < 1e-12);
}

TEST_CASE("DecoupledGreedy without BatchNorm gives a sample the same credit in any batch, and with it not",
          "[credit][decoupled_greedy]") {
  auto model = stages(Kind::plain, torch::kFloat64);
  const auto batch = batch_for(Kind::plain, torch::kFloat64);
  const Batch part{batch.x.narrow(0, 2, 3), batch.y.narrow(0, 2, 3)};
  for (const bool batch_norm : {false, true}) {
    const auto state = greedy_on(model, {.batch_norm = batch_norm});
    const auto whole = state.credit(model, trace_of(model, batch));
    const auto alone = state.credit(model, trace_of(model, part));
    for (std::size_t l = 0; l + 1 < whole.size(); ++l) {
      CHECK((distance(whole[l].narrow(0, 2, 3), alone[l]) > 1e-6) == batch_norm);
    }
  }
}

TEST_CASE("DecoupledGreedy refuses options that make no sense, and a batch that BatchNorm cannot take",
          "[credit][decoupled_greedy]") {
  auto model = stages(Kind::plain);
  const auto made = [&](const DecoupledGreedy& rule) { return error_of([&] { LocalTrainer(model, rule); }); };
  CHECK(says(made({.layers = -1}), {"DecoupledGreedy: layers is -1, expected at least 0."}));
  CHECK(says(made({.lr = -1}), {"DecoupledGreedy: lr is -1"}));
  CHECK(says(made({.weight_decay = -1}), {"DecoupledGreedy: weight_decay is -1"}));

  const auto one = batch_for(Kind::plain, torch::kFloat32, 1);
  CHECK(says(error_of([&] { LocalTrainer(model, DecoupledGreedy{}).step(one.x, one.y); }),
             {"DecoupledGreedy: BatchNorm in its heads needs more than one value per feature", ".batch_norm = false"}));
  CHECK(error_of([&] { LocalTrainer(model, DecoupledGreedy{.batch_norm = false}).step(one.x, one.y); }) ==
        "(nothing was thrown)");
}
