// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/direct_feedback.hpp>
#include <creditlib/credit/direct_kolen_pollack.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/normalizer/row_rms.hpp>
#include <creditlib/rate/constant.hpp>
#include <creditlib/testing/laws.hpp>

#include "../models.hpp"
#include "../position_nets.hpp"
#include "../sources.hpp"
#include "../test.hpp"
#include "../trace_of.hpp"
#include "by_hand.hpp"
#include "learned.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Images or vectors straight into one hidden layer, and a linear readout: no embed.
SequentialBlocks one_hidden_layer() {
  using namespace torch::nn;
  torch::manual_seed(4);
  SequentialBlocks model({.blocks = {Sequential(Linear(6, 5), Tanh())},
                          .readout = Sequential(Linear(5, small_classes)),
                          .example = torch::zeros({1, 6})});
  model->to(torch::kFloat64);
  return model;
}

/// A learner that halves its matrices and keeps nothing.
struct Halving {
  static constexpr const char* rule = "Halving";
  struct State {
    template <class Model>
    void learn(Model&, const Trace&, const std::vector<torch::Tensor>& feedback) const {
      for (const auto& B : feedback) {
        if (B.defined()) torch::Tensor(B).mul_(0.5);
      }
    }
  };
  State bind(const std::vector<torch::Tensor>&, const BindContext&) const { return {}; }
};

/// One that makes its matrices ones when it is bound, draws, and may pull back.
struct PullingBack {
  static constexpr const char* rule = "PullingBack";
  struct State {
    static constexpr bool wants_pullback = true;
    torch::Tensor drawn, pulled;

    template <class Model>
    void learn(Model&, const Trace& trace, const std::vector<torch::Tensor>&) {
      pulled.copy_(trace.pullback(0, torch::ones_like(trace.hidden[1])).sum());
    }
    NamedTensors named_tensors() const { return {{"drawn", drawn}, {"pulled", pulled}}; }
  };
  State bind(const std::vector<torch::Tensor>& feedback, const BindContext& context) const {
    for (const auto& B : feedback) torch::Tensor(B).fill_(1);
    return {context.randn({2}), torch::zeros({}, context.dtype)};
  }
};

/// e^T h / B in plain numbers, as B_l: (d, C).
torch::Tensor plain_outer(const torch::Tensor& h, const torch::Tensor& e) {
  return times_transposed(h.t(), e.t()) / static_cast<double>(h.size(0));
}

}  // namespace

TEST_CASE("DirectFeedback's credit is DFA's, and its matrices are the learner's", "[credit]") {
  const auto [x, y] = small_batch();
  using Random = DirectFeedback<Halving>;
  LocalTrainer dfa(small_model(), DFA{});
  LocalTrainer learned(small_model(), Random{.start = FeedbackStart::Random});

  CHECK(same(dfa.raw_credits(x, y), learned.raw_credits(x, y)));
  learned.learn(x, y);
  const auto before = dfa.raw_credits(x, y), after = learned.raw_credits(x, y);
  for (std::size_t l = 0; l < before.size(); ++l) CHECK(torch::equal(after[l], before[l] / 2));

  LocalTrainer zeros(small_model(), Random{});
  for (const auto& B : zeros.state().feedback) CHECK(B.equal(torch::zeros({5, small_classes})));
  const std::vector<torch::Tensor> given(4, torch::ones({5, small_classes}));
  LocalTrainer explicitly(small_model(), Random{.feedback = given});
  CHECK(same(copies(explicitly.state().feedback), given));
  CHECK(says(error_of([&] { LocalTrainer(small_model(), Random{.feedback = {given[0]}}); }),
             {"Halving: 1 feedback matrices were given, expected 4"}));
}

TEST_CASE("a step of DirectFeedback uses the matrices as they were before it learned", "[credit]") {
  const auto [x, y] = small_batch(torch::kFloat64);
  const auto path = GENERATE(Path::ClosedForm, Path::Generic);
  auto model = small_model(torch::kFloat64);
  LocalTrainer trainer(model, DirectFeedback<Halving>{.start = FeedbackStart::Random}, {.path = path}, Raw{});
  const auto shown = copies(trainer.gradients(x, y));

  trainer.step(x, y);

  CHECK(same(shown, gradients_of(*model)));
}

TEST_CASE("a learner may change the matrices it is bound to, draw, and ask for pullbacks", "[credit]") {
  using Rule = DirectFeedback<PullingBack>;
  const auto [x, y] = small_batch(torch::kFloat64);
  auto model = small_model(torch::kFloat64);
  LocalTrainer trainer(model, Rule{}, {.seed = 5});
  CHECK(trainer.state().feedback[2].equal(torch::ones({5, small_classes}, torch::kFloat64)));

  trainer.learn(x, y);

  CHECK(trainer.state().learner.pulled.item<double>() != 0);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : trainer.state().named_tensors()) names.push_back(name);
  CHECK(names == std::vector<std::string>{"feedback.0", "feedback.1", "feedback.2", "feedback.3", "learner.drawn",
                                          "learner.pulled"});
  using Asks = decltype(trainer.state().learner);
  static_assert(DirectFeedback<PullingBack>::State::wants_pullback && Asks::wants_pullback);
  static_assert(!DirectFeedback<Halving>::State::wants_pullback);
  static_assert(!DirectFeedback<Halving>::State::wants_pushforward);
}

// ---- DirectKolenPollack ----

TEST_CASE("DirectKolenPollack's matrices get e^T h, the batch mean, as gradient", "[credit]") {
  auto model = stages(Kind::plain, torch::kFloat64);
  const auto batch = batch_for(Kind::plain, torch::kFloat64);
  const auto trace = trace_of(model, batch);
  auto state = DirectKolenPollack{}.bind(model, context(torch::kFloat64));

  state.learn(model, trace);

  const auto e = plain_error(model->forward(batch.x), batch.y);
  for (std::size_t l = 0; l < state.feedback.size(); ++l) {
    CHECK(distance(state.feedback[l].grad(), plain_outer(trace.hidden[l], e)) < 1e-14);
    // Adam's first step goes by the sign of the gradient.
    CHECK(distance(state.feedback[l], -1e-4 * state.feedback[l].grad().sign()) < 1e-5);
  }
}

// <B_l, gradient> = mean_b <a_l, h_l>: both are the value of a layer of weights B_l^T from h_l to the logits, times e.
TEST_CASE("the gradient is that of the layer whose transpose gives the credit, with positions too", "[credit]") {
  const auto check = [](SequentialBlocks model, const Batch& batch, bool by_element) {
    const auto trace = trace_of(model, batch);
    auto state = DirectKolenPollack{.lr = 0, .start = FeedbackStart::Random, .by_element = by_element}.bind(
        model, context(torch::kFloat64));
    const auto credits = state.credit(model, trace);
    state.learn(model, trace);
    for (std::size_t l = 0; l < credits.size(); ++l) {
      if (!credits[l].defined()) continue;
      const double along_credit = (credits[l] * trace.hidden[l]).sum().item<double>() / 7;
      CHECK((state.feedback[l] * state.feedback[l].grad()).sum().item<double>() == Approx(along_credit).epsilon(1e-10));
    }
  };
  torch::manual_seed(2);
  for (const bool by_element : {false, true}) {
    for (const auto kind : {Kind::plain, Kind::conv, Kind::sequence, Kind::tokens, Kind::no_embed})
      check(stages(kind, torch::kFloat64), batch_for(kind, torch::kFloat64), by_element);
    check(token_net(), token_batch(), by_element);
    check(pixel_net(), pixel_batch(), by_element);
  }
}

TEST_CASE("over one hidden layer DirectKolenPollack is Kolen-Pollack: B and W come closer by the decay", "[credit]") {
  const double lr = 1e-2, decay = 2;
  const auto feedback_decay = GENERATE(2.0, 0.5);
  auto model = one_hidden_layer();
  const auto W = model->readout_parameters()[0];
  LocalTrainer trainer(model, DirectKolenPollack{.lr = lr, .decay = feedback_decay, .start = FeedbackStart::Random},
                       {.lr = lr, .weight_decay = decay}, rate::Constant{});
  const auto& B = trainer.state().feedback[1];
  const auto apart = [&] { return (B.t() - W).norm().item<double>(); };
  bool same_decay = true;
  const double first = apart();
  for (std::uint64_t step = 0; step < 20; ++step) {
    const auto [x, y] = batch_for(Kind::plain, torch::kFloat64, 7, step);
    const double before = apart();

    trainer.step(x, y);

    CHECK(distance(B.grad().t(), W.grad()) < 1e-15);
    same_decay = same_decay && std::abs(apart() / before - (1 - lr * decay)) < 1e-12;
  }
  CHECK(same_decay == (feedback_decay == decay));
  CHECK(first > 0.5);
}

TEST_CASE("at lr 0 DirectKolenPollack is DFA to the bit", "[credit]") {
  const auto kind = GENERATE(Kind::plain, Kind::conv);
  auto one = stages(kind), other = stages(kind);
  LocalTrainer dfa(one, DFA{});
  LocalTrainer fixed(other, DirectKolenPollack{.lr = 0, .decay = 0.5, .start = FeedbackStart::Random}, {}, RowRms{});
  for (std::uint64_t step = 0; step < 4; ++step) {
    const auto [x, y] = batch_for(kind, torch::kFloat32, 7, step);
    dfa.step(x, y);
    fixed.step(x, y);
  }
  CHECK(same(copies(one->parameters()), copies(other->parameters())));
}

TEST_CASE("from zeros DirectKolenPollack leaves the blocks alone until its matrices have learned", "[credit]") {
  auto model = small_model();
  LocalTrainer trainer(model, DirectKolenPollack{}, {.weight_decay = 0});
  const auto blocks = [&] { return copies(model->block_parameters(0)); };
  const auto start = blocks(), readout = copies(model->readout_parameters());
  const auto [x, y] = small_batch();

  trainer.step(x, y);
  CHECK(same(start, blocks()));
  CHECK_FALSE(same(readout, copies(model->readout_parameters())));
  trainer.step(x, y);
  CHECK_FALSE(same(start, blocks()));
}

TEST_CASE("DirectKolenPollack reads no weight, neither for credit nor to learn", "[credit]") {
  for (const auto kind : {Kind::plain, Kind::conv, Kind::tokens, Kind::no_embed}) {
    INFO("on " << name(kind));
    auto model = stages(kind);
    const auto trace = trace_of(model, batch_for(kind));
    const auto learned = [&] {
      auto state = DirectKolenPollack{.start = FeedbackStart::Random}.bind(model, context());
      for (int step = 0; step < 3; ++step) state.learn(model, trace);
      auto all = state.credit(model, trace);
      for (const auto& [name, tensor] : state.named_tensors()) all.push_back(tensor);
      return copies(all);
    };
    const auto before = learned();

    randomise(*model);

    CHECK(same(before, learned()));
  }
}

namespace {

/// The mean alignment with the gradient before and after a small network is trained from its start.
std::pair<double, double> alignment_in_training(const DirectKolenPollack& rule) {
  auto task = frozen_task();
  torch::manual_seed(6);
  task.model = ResidualMLP({.input = 16, .width = 24, .classes = frozen_classes, .blocks = 3});
  LocalTrainer trainer(task.model, rule, {.lr = 2e-3});
  const double untrained = mean_gamma(trainer.state(), task);
  for (std::int64_t step = 0; step < 300; ++step) {
    const auto first = step * 64 % 2048;
    trainer.step(task.training.x.narrow(0, first, 64), task.training.y.narrow(0, first, 64));
  }
  return {untrained, mean_gamma(trainer.state(), task)};
}

}  // namespace

// It follows what the readout learns, not what it is: on a network that stays as it is there is nothing to follow.
TEST_CASE("while a network trains DirectKolenPollack comes to follow its gradients, more than DFA", "[credit]") {
  const auto [untrained, trained] = alignment_in_training({.lr = 2e-3, .start = FeedbackStart::Random});
  const auto [at_random, of_dfa] = alignment_in_training({.lr = 0, .start = FeedbackStart::Random});

  CAPTURE(untrained, trained, of_dfa);
  CHECK(untrained == at_random);
  CHECK(std::abs(untrained) < 0.2);
  CHECK(trained > 0.4);
  CHECK(trained > of_dfa + 0.1);
}

TEST_CASE("DirectKolenPollack says what is wrong with its options", "[credit]") {
  const auto message = [](const DirectKolenPollack& rule) {
    return error_of([&] { LocalTrainer(small_model(), rule); });
  };

  CHECK(says(message({.lr = -1}), {"DirectKolenPollack: lr is -1, expected a finite number >= 0."}));
  CHECK(says(message({.decay = NAN}), {"DirectKolenPollack: decay is nan"}));
  CHECK(says(message({.feedback = {torch::zeros({5, 4})}}), {"DirectKolenPollack: 1 feedback matrices were given"}));
  CHECK(message({}) == "(nothing was thrown)");
}

TEST_CASE("DirectKolenPollack from zeros obeys the laws too", "[credit]") {
  const auto report =
      testing::check_laws(DirectKolenPollack{}, {stages_case(Kind::plain), stages_case(Kind::conv)}, {.draws = false});

  INFO(report.text());
  CHECK(report.ok());
}
