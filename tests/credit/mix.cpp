// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/schedule/blend.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <creditlib/schedule/warmup.hpp>

#include "../models.hpp"
#include "../sources.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Weights that a test chooses.
struct Given {
  double first = 1, second = 1;
  std::array<double, 2> weights(const Progress&) const { return {first, second}; }
};
struct GivenLearning : Given {
  std::array<bool, 2> learns(const Progress&) const { return {false, true}; }
};

/// A source that must not be asked.
struct NotToBeAsked {
  std::vector<torch::Tensor> credit(auto&, const Trace&) const { throw Error("was asked"); }
  std::vector<torch::Tensor> local_inputs(auto&, const Trace&) const { throw Error("was asked for states"); }
};

/// Pulls back without leave, in credit or in learn.
struct PullsBackSecretly {
  std::vector<torch::Tensor> credit(auto&, const Trace& trace) const {
    auto credits = trace.hidden;
    credits.back() = trace.loss_gradient();
    for (std::size_t l = trace.branch.size(); l-- > 0;)
      credits[l] = trace.pullback(static_cast<std::int64_t>(l), credits[l + 1]);
    return credits;
  }
};

/// Fits its one number to the exact credit at h_0, which it pulls back when it learns.
struct LearnsFromPullback {
  static constexpr bool wants_pullback = true;
  torch::Tensor seen = torch::zeros({});

  std::vector<torch::Tensor> credit(auto&, const Trace& trace) const { return trace.hidden; }
  void learn(auto&, const Trace& trace) {
    auto a = trace.loss_gradient();
    for (std::size_t l = trace.branch.size(); l-- > 0;) a = trace.pullback(static_cast<std::int64_t>(l), a);
    seen = a.norm();
  }
};

template <class Schedule>
std::vector<std::string> calls_of_a_step(const Schedule& schedule, int epochs_before = 0) {
  const auto calls = std::make_shared<std::vector<std::string>>();
  auto model = small_model();
  const auto batch = small_batch();
  LocalTrainer trainer(model, Mix{Recorder{"first ", calls}, Recorder{"second ", calls}}, {}, schedule);
  for (int i = 0; i < epochs_before; ++i) trainer.end_epoch();
  trainer.step(batch.x, batch.y);
  return *calls;
}
using Calls = std::vector<std::string>;

}  // namespace

TEST_CASE("a Mix with two weights is the sum of weight times credit, each over its own root mean square", "[credit]") {
  for (const auto kind : {Kind::plain, Kind::conv, Kind::tokens}) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64);
    const auto batch = batch_for(kind, torch::kFloat64);
    LocalTrainer mixed(model, Mix{DFA{}, FA{}}, {}, Given{0.3, -2}, Raw{});
    LocalTrainer first(model, DFA{.feedback = mixed.state().first.feedback});
    LocalTrainer second(model, FA{.feedback = mixed.state().second.feedback});

    const auto credits = mixed.credits(batch.x, batch.y);

    const auto a = first.raw_credits(batch.x, batch.y), b = second.raw_credits(batch.x, batch.y);
    for (std::size_t l = 0; l < credits.size(); ++l) {
      CHECK(distance(credits[l], 0.3 * plain_unit_rms(a[l]) - 2 * plain_unit_rms(b[l])) < 1e-12);
    }
  }
}

TEST_CASE("with one weight 0 a Mix is the other source as it is alone, whatever its weight", "[credit]") {
  auto model = small_model();
  const auto batch = small_batch();
  LocalTrainer mixed(model, Mix{DFA{}, NotToBeAsked{}}, {}, Given{0.3, 0});
  LocalTrainer alone(model, DFA{});
  LocalTrainer reversed(model, Mix{NotToBeAsked{}, DFA{.feedback = alone.state().feedback}}, {}, Given{0, 0.3});

  CHECK(same(mixed.raw_credits(batch.x, batch.y), alone.raw_credits(batch.x, batch.y)));
  CHECK(same(mixed.gradients(batch.x, batch.y), alone.gradients(batch.x, batch.y)));
  CHECK(same(reversed.raw_credits(batch.x, batch.y), alone.raw_credits(batch.x, batch.y)));
  CHECK(same(reversed.gradients(batch.x, batch.y), alone.gradients(batch.x, batch.y)));
}

TEST_CASE("the first source of a Mix draws as it would alone, the second otherwise", "[credit]") {
  auto model = small_model();
  LocalTrainer alone(model, DFA{}, {.seed = 4});
  LocalTrainer next_seed(model, DFA{}, {.seed = 5});
  LocalTrainer mixed(model, Mix{DFA{}, DFA{}}, {.seed = 4}, Blend{});
  LocalTrainer other(model, Mix{FA{}, DFA{}}, {.seed = 4}, Blend{});
  LocalTrainer next(model, Mix{DFA{}, DFA{}}, {.seed = 5}, Blend{});

  CHECK(same(mixed.state().first.feedback, alone.state().feedback));
  CHECK_FALSE(same(mixed.state().second.feedback, alone.state().feedback));
  CHECK(same(mixed.state().second.feedback, other.state().second.feedback));
  CHECK_FALSE(same(next.state().second.feedback, mixed.state().second.feedback));
  CHECK_FALSE(same(mixed.state().second.feedback, next_seed.state().feedback));
}

TEST_CASE("the sources with a weight learn, in order and after both gave credit", "[credit]") {
  CHECK(calls_of_a_step(Given{1, 1}) ==
        Calls{"first credit", "second credit", "first learn", "second learn", "first after_step", "second after_step"});
  CHECK(calls_of_a_step(Given{0, 1}) ==
        Calls{"second credit", "second learn", "first after_step", "second after_step"});
}

TEST_CASE("a schedule with learns says itself which sources learn", "[credit]") {
  CHECK(calls_of_a_step(GivenLearning{{1, 0}}) ==
        Calls{"first credit", "second learn", "first after_step", "second after_step"});
  CHECK(calls_of_a_step(Warmup{.epochs = 5, .ramp = 5}) ==
        Calls{"first credit", "first learn", "second learn", "first after_step", "second after_step"});
  CHECK(calls_of_a_step(SwitchAt{.epoch = 3, .lead = 1}, 1) ==
        Calls{"first credit", "first learn", "first after_step", "second after_step"});
  CHECK(calls_of_a_step(SwitchAt{.epoch = 3, .lead = 1}, 2) ==
        Calls{"first credit", "first learn", "second learn", "first after_step", "second after_step"});
  CHECK(calls_of_a_step(SwitchAt{.epoch = 3, .lead = 1}, 3) ==
        Calls{"second credit", "second learn", "first after_step", "second after_step"});
}

TEST_CASE("a rule that does not declare it may not pull back, alone or beside one that does", "[credit]") {
  auto model = small_model();
  const auto batch = small_batch();
  LocalTrainer alone(model, PullsBackSecretly{});
  LocalTrainer beside(model, Mix{Oracle{}, PullsBackSecretly{}}, {}, Blend{});
  const auto before = copies(model->parameters());

  CHECK(says(error_of([&] { alone.step(batch.x, batch.y); }), {"wants_pullback", "Trace::pullback"}));
  CHECK(says(error_of([&] { beside.step(batch.x, batch.y); }), {"wants_pullback", "Trace::pullback"}));
  CHECK(same(before, model->parameters()));
}

TEST_CASE("a source that learns before its credit counts may pull back where it declares it", "[credit]") {
  auto model = small_model();
  const auto batch = small_batch();
  LocalTrainer oracle(model, Oracle{});
  const auto exact = oracle.raw_credits(batch.x, batch.y)[0].norm();
  LocalTrainer trainer(model, Mix{DFA{}, LearnsFromPullback{}}, {}, Warmup{.epochs = 5, .ramp = 5});

  trainer.learn(batch.x, batch.y);

  CHECK(distance(trainer.state().second.seen, exact) < 1e-6);
}

TEST_CASE("a schedule that leaves nothing to train with is refused", "[credit]") {
  auto model = small_model();
  const auto mixed = [&](auto schedule) {
    return error_of([&] { LocalTrainer(model, Mix{DFA{}, FA{}}, {}, schedule); });
  };

  CHECK(says(mixed(Given{0, 0}), {"weight 0"}));
  CHECK(says(mixed(Given{1, NAN}), {"weight nan", "finite"}));
  CHECK(says(mixed(Blend{.alpha = 1.5}), {"Blend: alpha is 1.5", "0..1"}));
  CHECK(says(mixed(Blend{.alpha = NAN}), {"Blend: alpha is nan"}));
  CHECK(says(mixed(Warmup{.epochs = -1}), {"Warmup: epochs is -1"}));
  CHECK(says(mixed(Warmup{.ramp = 0}), {"ramp is 0"}));
  CHECK(mixed(Blend{.alpha = 1}) == "(nothing was thrown)");
}

TEST_CASE("the credits of each source are checked, and the message says which it is", "[credit]") {
  auto model = small_model();
  const auto batch = small_batch();
  LocalTrainer trainer(model, Mix{DFA{}, FixedCredit{{torch::zeros({7, 5})}}}, {}, Blend{});

  CHECK(says(error_of([&] { trainer.credits(batch.x, batch.y); }), {"source 1 of the Mix gave 1 credits, expected 4"}));
}
