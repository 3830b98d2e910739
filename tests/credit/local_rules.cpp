// SPDX-License-Identifier: Apache-2.0
// What the rules with local heads read, on every model.
#include <creditlib/credit/channel_goodness.hpp>
#include <creditlib/credit/decoupled_greedy.hpp>
#include <creditlib/credit/local_error_signals.hpp>
#include <creditlib/credit/mono_forward.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/small_cnn.hpp>
#include <creditlib/model/small_resnet.hpp>
#include <creditlib/model/transformer_lm.hpp>
#include <creditlib/model/vit_mini.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <tuple>

#include "../trace_of.hpp"
#include "by_hand.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

struct Pred : LocalErrorSignals {
  Pred() : LocalErrorSignals{.beta = 0, .lr = 0.01} {}
};
struct Sim : LocalErrorSignals {
  Sim() : LocalErrorSignals{.beta = 1, .lr = 0.01} {}
};
struct QuickPredSim : LocalErrorSignals {
  QuickPredSim() : LocalErrorSignals{.beta = 0.5, .lr = 0.01} {}
};
struct QuickMonoForward : MonoForward {
  QuickMonoForward() : MonoForward{.lr = 0.01} {}
};
struct QuickGreedy : DecoupledGreedy {
  QuickGreedy() : DecoupledGreedy{.lr = 0.01} {}
};

using WithHeads = std::tuple<Pred, Sim, QuickPredSim, QuickMonoForward, QuickGreedy>;

/// Whether the last hidden state's credit comes from the readout.
template <class Rule>
constexpr bool reads_readout = std::is_base_of_v<DecoupledGreedy, Rule>;

/// Other numbers into a model's parameters, in a way that no graph notices.
template <class Model>
void overwrite(Model& model) {
  const torch::NoGradGuard no_grad;
  for (const auto& parameter : model->parameters()) torch::Tensor(parameter).variable_data().normal_();
}

template <class State>
void enliven_heads(State& state) {
  torch::manual_seed(13);
  const torch::NoGradGuard no_grad;
  for (const auto& parameter : state.nets.parameters())
    torch::Tensor(parameter).add_(torch::randn_like(parameter), 0.3);
}

double sum_of(const std::vector<torch::Tensor>& losses) {
  double sum = 0;
  for (const auto& loss : losses) sum += loss.item<double>();
  return sum;
}

Batch images_and_labels(std::int64_t channels, std::int64_t side) {
  torch::manual_seed(8);
  return {torch::randn({6, channels, side, side}), torch::randint(4, {6})};
}

/// "" if credit fits every hidden state and the heads' losses fall on this model.
template <class Rule, class Model>
std::string trains_heads_on(Model model, const Batch& batch) {
  const auto trace = trace_of(model, batch);
  auto state = Rule{}.bind(model, context());
  const auto credits = state.credit(model, trace);
  for (std::size_t l = state.first; l < credits.size(); ++l) {
    if (!credits[l].defined() || credits[l].sizes() != trace.hidden[l].sizes())
      return "no credit for h_" + std::to_string(l);
    if (!credits[l].isfinite().all().template item<bool>()) return "credit that is not finite";
  }
  const double before = sum_of(state.losses(model, trace));
  for (int i = 0; i < 30; ++i) state.learn(model, trace);
  const double after = sum_of(state.losses(model, trace));
  return after < 0.9 * before ? "" : c10::str("the losses went from ", before, " to ", after);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("a rule with heads responds to labels, hidden states and its heads", "[credit][local_heads]",
                        WithHeads) {
  auto model = stages(Kind::plain, torch::kFloat64);
  const auto trace = trace_of(model, batch_for(Kind::plain, torch::kFloat64));
  auto state = TestType{}.bind(model, context(torch::kFloat64));
  enliven_heads(state);
  const auto credits = copies(state.credit(model, trace));
  auto other = trace;
  other.target = trace.target.flip(0);  // classes by other names would leave similarities as they are
  const auto of_others = copies(state.credit(model, other));
  enliven_heads(state);
  const auto of_heads = copies(state.credit(model, trace));

  for (std::size_t l = 0; l < state.nets.size(); ++l) {
    CHECK_FALSE(torch::equal(credits[l], of_others[l]));
    CHECK_FALSE(torch::equal(credits[l], of_heads[l]));
  }
}

TEMPLATE_LIST_TEST_CASE("a rule with heads is blind to the weights of blocks and readout", "[credit][local_heads]",
                        WithHeads) {
  for (const auto kind : {Kind::residual_mlp, Kind::plain, Kind::conv, Kind::tokens}) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64);
    const auto trace = trace_of(model, batch_for(kind, torch::kFloat64));
    auto state = TestType{}.bind(model, context(torch::kFloat64));
    enliven_heads(state);
    const auto credits = copies(state.credit(model, trace));

    overwrite(model);
    auto fresh = trace_of(model, batch_for(kind, torch::kFloat64));  // of the other weights, and its graph
    fresh.hidden = trace.hidden;
    fresh.branch = trace.branch;
    const auto blind = state.credit(model, fresh);

    for (std::size_t l = 0; l < state.nets.size(); ++l) CHECK(torch::equal(credits[l], blind[l]));
    CHECK(torch::equal(credits.back(), blind.back()) == !reads_readout<TestType>);
  }
}

TEMPLATE_LIST_TEST_CASE("a rule with heads gives credit for every part of the library's networks, and learns",
                        "[credit][local_heads][model]", WithHeads) {
  torch::manual_seed(5);
  CHECK(trains_heads_on<TestType>(small_model(), small_batch()) == "");
  CHECK(trains_heads_on<TestType>(SmallCNN({.classes = 4, .input = 1, .image = 8}), images_and_labels(1, 8)) == "");
  CHECK(trains_heads_on<TestType>(SmallResNet({.channels = 6, .classes = 4, .blocks = 2, .input = 1, .image = 8}),
                                  images_and_labels(1, 8)) == "");
  CHECK(trains_heads_on<TestType>(
            ViTMini({.width = 8, .heads = 2, .blocks = 2, .classes = 4, .patch = 4, .image = 8, .channels = 1}),
            images_and_labels(1, 8)) == "");
}

TEMPLATE_LIST_TEST_CASE("a rule with heads has a class per token of a language model, or says why not",
                        "[credit][local_heads][model]", WithHeads) {
  torch::manual_seed(5);
  auto model =
      lively(TransformerLM({.vocabulary = 7, .context = 6, .width = 8, .heads = 2, .blocks = 2}), torch::kFloat32);
  const Batch batch{torch::randint(7, {6, 5}), torch::randint(7, {6, 5})};
  if constexpr (std::is_same_v<TestType, Sim> || std::is_same_v<TestType, QuickPredSim>) {
    CHECK(says(error_of([&] { LocalTrainer(model, TestType{}); }),
               {"LocalErrorSignals: beta is ", "the logits (-1, 7) have a class per position; use beta = 0."}));
  } else {
    CHECK(trains_heads_on<TestType>(model, batch) == "");
  }
}

TEMPLATE_LIST_TEST_CASE("a rule with heads trains a regression, or no trainer is made for one", "[credit][local_heads]",
                        WithHeads) {
  auto model = stages(Kind::plain);
  const auto x = batch_for(Kind::plain).x, wanted = torch::randn({x.size(0), small_classes});
  if constexpr (std::is_same_v<TestType, Sim> || std::is_same_v<TestType, QuickPredSim>) {
    CHECK(says(error_of([&] { LocalTrainer(model, TestType{}, {}, SquaredError{}); }),
               {"LocalErrorSignals: beta > 0 needs a class label", "such as CrossEntropy"}));
  } else {
    LocalTrainer trainer(model, TestType{}, {}, SquaredError{});
    const auto before = copies(model->block_parameters(0));
    for (int i = 0; i < 2; ++i) trainer.step(x, wanted);  // heads that start at 0 give no credit at first
    CHECK_FALSE(same(before, copies(model->block_parameters(0))));
  }
}

TEST_CASE("MonoForward's credit for a token is that of its own goodness", "[credit][mono_forward][model]") {
  torch::manual_seed(5);
  TransformerLM model({.vocabulary = 7, .context = 6, .width = 8, .heads = 2, .blocks = 2});
  model->to(torch::kFloat64);
  const Batch batch{torch::randint(7, {3, 5}), torch::randint(7, {3, 5})};
  const auto trace = trace_of(model, batch);
  const auto state = MonoForward{}.bind(model, context(torch::kFloat64));
  const auto M = state.nets[1]->weight.detach();

  const auto error = CrossEntropy{}.error(trace.hidden[1].matmul(M.t()), trace.target);

  CHECK(distance(state.credit(model, trace)[1], error.matmul(M)) < 1e-12);
}

TEST_CASE("heads classify the positions of maps too, if the logits have them", "[credit][local_heads]") {
  using namespace torch::nn;
  torch::manual_seed(6);
  const auto made = [](std::int64_t stride) {
    return SequentialBlocks({.blocks = {Sequential(Conv2d(Conv2dOptions(2, 6, 3).padding(1)), Tanh()),
                                        Sequential(Conv2d(Conv2dOptions(6, 5, 3).padding(1).stride(stride)))},
                             .readout = Sequential(Conv2d(5, 3, 1)),
                             .example = torch::zeros({1, 2, 4, 4})});
  };
  auto model = made(1);
  model->to(torch::kFloat64);
  const Batch batch{torch::randn({7, 2, 4, 4}, torch::kFloat64), torch::randint(3, {7, 4, 4})};
  const auto trace = trace_of(model, batch);

  const auto mono = MonoForward{}.bind(model, context(torch::kFloat64));
  const auto h = trace.hidden[1].clone().requires_grad_();
  const auto scores = torch::conv2d(h, mono.nets[0]->weight.view({3, 6, 1, 1}));
  const auto loss = CrossEntropy{}.loss(scores, trace.target).sum();
  CHECK(distance(mono.credit(model, trace)[1], torch::autograd::grad({loss}, {h})[0]) < 1e-12);

  const auto goodness = ChannelGoodness{}.bind(model, context(torch::kFloat64)).credit(model, trace)[1];
  const auto own = torch::stack(
      {h.slice(1, 0, 2).square().mean(1), h.slice(1, 2, 4).square().mean(1), h.slice(1, 4, 6).square().mean(1)}, 1);
  CHECK(distance(goodness, torch::autograd::grad({CrossEntropy{}.loss(own, trace.target).sum()}, {h})[0]) < 1e-12);

  CHECK(says(error_of([&] { LocalTrainer(made(2), MonoForward{}); }),
             {"MonoForward: the logits (3, 2, 2) have a class per position, and h_1 (6, 4, 4) has other positions"}));
  CHECK(says(error_of([&] { LocalTrainer(made(2), ChannelGoodness{}); }), {"ChannelGoodness: the logits (3, 2, 2)"}));
}
