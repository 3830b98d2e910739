// SPDX-License-Identifier: Apache-2.0
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>

#include <creditlib/credit/local_heads.hpp>

#include "../trace_of.hpp"
#include "by_hand.hpp"
#include "learners.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

using torch::nn::BatchNorm1d;
using torch::nn::Linear;
using torch::nn::ReLU;
using torch::nn::Sequential;

/// Two layers with BatchNorm between them; the loss is the objective's.
struct NormedHead {
  static constexpr bool couples_samples = true;
  Sequential module(const HeadInput& input) const {
    return Sequential(Linear(input.features(), 6), BatchNorm1d(6), torch::nn::Tanh(), Linear(6, input.classes));
  }
  torch::Tensor loss(Sequential& net, const torch::Tensor& h, const Trace& trace) const {
    return trace.loss(net->forward(h));
  }
};

struct TwoLayerHead {
  std::int64_t width = 6;
  Sequential module(const HeadInput& input) const {
    return Sequential(Linear(input.features(), width), torch::nn::Tanh(), Linear(width, input.classes));
  }
  torch::Tensor loss(Sequential& net, const torch::Tensor& h, const Trace& trace) const {
    return trace.loss(net->forward(h));
  }
};

/// A head whose loss is what a test wants to see refused.
struct FaultyHead {
  torch::Tensor (*loss_of)(Linear& net, const torch::Tensor& h);
  Linear module(const HeadInput& input) const { return Linear(input.features(), input.classes); }
  torch::Tensor loss(Linear& net, const torch::Tensor& h, const Trace&) const { return loss_of(net, h); }
};

struct DropoutHead {
  Sequential module(const HeadInput& input) const {
    return Sequential(torch::nn::Dropout(0.3), Linear(input.features(), input.classes));
  }
  torch::Tensor loss(Sequential& net, const torch::Tensor& h, const Trace& trace) const {
    return trace.loss(net->forward(h));
  }
};

/// One parameter under two names, one that is frozen.
struct TiedHead {
  class NetImpl : public torch::nn::Module {
   public:
    NetImpl(std::int64_t features, std::int64_t classes)
        : first(register_module("first", Linear(features, classes))), second(register_module("second", first)) {
      frozen = register_parameter("frozen", torch::ones({classes}), /*requires_grad=*/false);
    }
    Linear first, second;
    torch::Tensor frozen;
  };
  TORCH_MODULE(Net);
  Net module(const HeadInput& input) const { return Net(input.features(), input.classes); }
  torch::Tensor loss(Net& net, const torch::Tensor& h, const Trace& trace) const {
    return trace.loss((net->first(h) + net->second(h)) * net->frozen);
  }
};

template <class Head>
auto bound(const LocalHeads<Head>& rule, SequentialBlocks& model, std::uint64_t seed = 7) {
  return rule.bind(model, context(model->parameters()[0].scalar_type(), seed));
}

}  // namespace

static_assert(LocalHead<TwoLayerHead> && LocalHead<NormedHead> && !LocalHead<Linear>);
static_assert(creditlib::detail::CouplesSamples<LocalHeads<NormedHead>::State>);
static_assert(!creditlib::detail::CouplesSamples<LocalHeads<TwoLayerHead>::State>);
static_assert(CreditSource<LocalHeads<NormedHead>, SequentialBlocks>);

TEST_CASE("LocalHeads' credit is the gradient of each head's summed loss", "[credit][local_heads]") {
  for (const auto kind : {Kind::plain, Kind::batch_norm, Kind::no_embed}) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64);
    const auto trace = trace_of(model, batch_for(kind, torch::kFloat64));
    const auto state = bound(LocalHeads<TwoLayerHead>{}, model);

    const auto credits = state.credit(model, trace);

    REQUIRE(credits.size() == trace.hidden.size());
    CHECK(credits[0].defined() == (kind != Kind::no_embed));
    CHECK(state.nets.size() == credits.size() - (kind == Kind::no_embed ? 1 : 0));
    for (std::size_t i = 0; i < state.nets.size(); ++i) {
      auto head = state.nets[i];
      const auto h = trace.hidden[state.first + i].clone().requires_grad_();
      const auto loss = torch::nn::functional::cross_entropy(head->forward(h), trace.target);
      const auto samples = static_cast<double>(h.size(0));
      CHECK(distance(credits[state.first + i], slope(loss, h) * samples) < 1e-12);
    }
  }
}

TEST_CASE("LocalHeads' heads descend the mean of their losses", "[credit][local_heads]") {
  const LocalHeads<TwoLayerHead> still{.lr = 0};
  for (const auto kind : {Kind::plain, Kind::no_embed}) {
    CHECK(learns_down_its_losses(still, stages(kind, torch::kFloat64), batch_for(kind, torch::kFloat64)) == "");
  }
  const LocalHeads<NormedHead> normed{.lr = 0};
  CHECK(learns_down_its_losses(normed, stages(Kind::plain, torch::kFloat64), batch_for(Kind::plain, torch::kFloat64)) ==
        "");
}

TEST_CASE("LocalHeads' learning after credit is the learning alone, to the bit, and happens once",
          "[credit][local_heads]") {
  auto model = stages(Kind::plain);
  const auto trace = trace_of(model, batch_for(Kind::plain)),
             other = trace_of(model, batch_for(Kind::plain, torch::kFloat32, 5, 3));
  auto after_credit = bound(LocalHeads<NormedHead>{}, model), alone = bound(LocalHeads<NormedHead>{}, model);
  auto shown_another = bound(LocalHeads<NormedHead>{}, model), twice = bound(LocalHeads<NormedHead>{}, model);

  after_credit.credit(model, trace);
  after_credit.learn(model, trace);
  alone.learn(model, trace);
  shown_another.credit(model, other);
  shown_another.learn(model, trace);
  twice.credit(model, trace);
  for (int i = 0; i < 2; ++i) twice.learn(model, trace);

  const auto learned = kept(alone);
  CHECK(same(kept(after_credit), learned));
  CHECK(same(kept(shown_another), learned));
  alone.learn(model, trace);
  CHECK(same(kept(twice), kept(alone)));
  CHECK_FALSE(same(kept(alone), learned));
}

TEST_CASE("LocalHeads' running statistics move when heads learn, not when credit is asked for",
          "[credit][local_heads]") {
  auto model = stages(Kind::plain);
  const auto [x, y] = batch_for(Kind::plain);
  LocalTrainer trainer(model, LocalHeads<NormedHead>{});
  const auto first = copies(trainer.state().nets.buffers());
  REQUIRE(first.size() == 4 * 3);  // mean, variance and count of each head

  trainer.credits(x, y);
  trainer.gradients(x, y);
  trainer.state().losses(model, trace_of(model, {x, y}));
  CHECK(same(copies(trainer.state().nets.buffers()), first));

  trainer.step(x, y);
  const auto& head = trainer.state().nets[1];
  const auto statistics = head->named_buffers();
  CHECK(statistics["1.num_batches_tracked"].item<std::int64_t>() == 1);
  CHECK_FALSE(torch::equal(statistics["1.running_mean"], torch::zeros({6})));
  const auto names = trainer.state().named_tensors();
  const auto has = [&](const std::string& wanted) {
    return std::count_if(names.begin(), names.end(), [&](const auto& entry) { return entry.first == wanted; }) == 1;
  };
  CHECK((has("heads.1.0.weight") && has("heads.1.1.running_var") && has("heads.optimizer.mean.0")));
}

TEST_CASE("LocalHeads draws its heads from the trainer's seed, by torch's own layers", "[credit][local_heads]") {
  auto model = stages(Kind::plain);
  auto wide = stages(Kind::plain, torch::kFloat64);
  torch::manual_seed(5);
  const auto before = global_generator_state();
  const auto one = bound(LocalHeads<TwoLayerHead>{}, model), again = bound(LocalHeads<TwoLayerHead>{}, model);
  const auto other = bound(LocalHeads<TwoLayerHead>{}, model, 8), in_float64 = bound(LocalHeads<TwoLayerHead>{}, wide);

  CHECK(torch::equal(global_generator_state(), before));
  CHECK(same(kept(one), kept(again)));
  CHECK_FALSE(torch::equal(one.nets[0]->parameters()[0], other.nets[0]->parameters()[0]));
  CHECK_FALSE(torch::equal(one.nets[0]->parameters()[0], one.nets[1]->parameters()[0]));
  CHECK(torch::equal(one.nets[2]->parameters()[0].to(torch::kFloat64), in_float64.nets[2]->parameters()[0]));
  torch::manual_seed(7);  // the first layer's own start, from the same numbers
  CHECK(torch::equal(Linear(5, 6)->weight, one.nets[0]->parameters()[0]));
}

TEST_CASE("LocalHeads' last block may have the readout's own loss", "[credit][local_heads]") {
  auto model = stages(Kind::plain, torch::kFloat64);
  const auto trace = trace_of(model, batch_for(Kind::plain, torch::kFloat64));
  const auto with_head = bound(LocalHeads<TwoLayerHead>{}, model);
  const auto state = bound(LocalHeads<TwoLayerHead>{.last_from_readout = true}, model);

  const auto credits = state.credit(model, trace), all = with_head.credit(model, trace);

  CHECK(state.nets.size() == 3);
  CHECK(torch::equal(credits.back(), trace.loss_gradient()));
  CHECK_FALSE(torch::equal(all.back(), trace.loss_gradient()));
  for (std::size_t l = 0; l < 3; ++l) CHECK(torch::equal(credits[l], all[l]));
}

TEST_CASE("LocalHeads trains a parameter once that stands in a head twice, and no frozen one",
          "[credit][local_heads]") {
  auto model = stages(Kind::plain, torch::kFloat64);
  const auto trace = trace_of(model, batch_for(Kind::plain, torch::kFloat64));
  auto state = bound(LocalHeads<TiedHead>{.lr = 0.1}, model);
  CHECK(state.nets.parameters().size() == 4 * 2);
  const auto before = state.nets[0]->first->bias.detach().clone();

  state.learn(model, trace);

  CHECK(distance((state.nets[0]->first->bias - before).abs(), torch::full({small_classes}, 0.1, torch::kFloat64)) <
        1e-5);
  CHECK(torch::equal(state.nets[0]->frozen, torch::ones({small_classes}, torch::kFloat64)));
}

TEST_CASE("LocalHeads refuses what it cannot train with, and says why", "[credit][local_heads]") {
  auto model = stages(Kind::plain);
  const auto [x, y] = batch_for(Kind::plain);
  const auto said = [&](const auto& rule) { return error_of([&] { LocalTrainer(model, rule).step(x, y); }); };
  const auto said_of = [&](torch::Tensor (*loss)(Linear&, const torch::Tensor&)) {
    return said(LocalHeads<FaultyHead>{.head = {loss}});
  };
  const auto before = copies(model->parameters());

  CHECK(says(said(LocalHeads<TwoLayerHead>{.lr = -1}), {"LocalHeads: lr is -1, expected a finite number >= 0."}));
  CHECK(says(said(LocalHeads<TwoLayerHead>{.weight_decay = -1}), {"LocalHeads: weight_decay is -1"}));
  CHECK(says(said(LocalHeads<DropoutHead>{}),
             {"LocalHeads: the head on h_0: 0 is Dropout with p = 0.3, so that its loss would be another function"}));
  CHECK(says(said_of([](Linear& net, const torch::Tensor& h) { return net(h).sum(); }),
             {"LocalHeads: the loss of the head on h_0 is () float32 on cpu, expected (7): each sample's own."}));
  CHECK(says(said_of([](Linear& net, const torch::Tensor& h) { return net(h).sum(1).detach(); }),
             {"the head on h_0 has no graph"}));
  CHECK(says(said_of([](Linear& net, const torch::Tensor& h) { return net(h.detach()).sum(1); }),
             {"the head on h_0 does not depend on that hidden state."}));
  CHECK(same(copies(model->parameters()), before));
}
