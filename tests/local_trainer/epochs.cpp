// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <creditlib/schedule/warmup.hpp>
#include <utility>
#include <vector>

#include "../models.hpp"
#include "../quadratic.hpp"
#include "../sources.hpp"
#include "../temporary_folder.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// The first source in even steps of the run, the second in odd ones.
struct SecondAtOddSteps {
  std::array<double, 2> weights(const Progress& progress) const {
    return progress.step % 2 == 0 ? std::array{1.0, 0.0} : std::array{0.0, 1.0};
  }
};

/// Both sources alike before `epoch`, and from then on what a test wants.
struct GivenFrom {
  std::int64_t epoch = 0;
  std::array<double, 2> then = {1, 1};

  std::array<double, 2> weights(const Progress& progress) const {
    return progress.epoch < epoch ? std::array{1.0, 1.0} : then;
  }
};

}  // namespace

TEST_CASE("the rate falls by epochs, and schedules see epoch, epochs and step", "[trainer]") {
  auto model = small_model();
  const auto batch = small_batch();
  RecordingSchedule schedule;
  LocalTrainer trainer(model, DFA{}, {.lr = 0.1, .epochs = 4}, schedule);
  const std::vector<double> rates{0.1, 0.1 * (2 + std::sqrt(2.0)) / 4, 0.05, 0.1 * (2 - std::sqrt(2.0)) / 4, 0, 0};

  for (std::size_t epoch = 0; epoch < rates.size(); ++epoch) {
    CHECK(trainer.rate() == Approx(rates[epoch]).margin(1e-15));
    for (int i = 0; i < 2; ++i) {
      schedule.asked->clear();
      trainer.step(batch.x, batch.y);
      REQUIRE(schedule.asked->size() == 1);
      for (const auto& progress : *schedule.asked) {
        CHECK(progress.epoch == static_cast<std::int64_t>(epoch));
        CHECK(progress.epochs == 4);
        CHECK(progress.step == static_cast<std::int64_t>(2 * epoch) + i);
      }
    }
    trainer.end_epoch();
  }
  CHECK(trainer.epoch() == 6);
  CHECK(trainer.steps() == 12);
}

TEST_CASE("a schedule is asked once per step, and once per preview, for weights and for what learns", "[trainer]") {
  const auto batch = small_batch();
  const CountingSchedule schedule;
  LocalTrainer trainer(small_model(), Mix{DFA{}, Oracle{}}, {.epochs = 4}, schedule);
  const auto asked = [&](const auto& action) {
    *schedule.asked_weights = *schedule.asked_learns = 0;
    action();
    return std::pair(*schedule.asked_weights, *schedule.asked_learns);
  };
  const std::pair once{1, 1};

  CHECK(*schedule.asked_weights == 1);  // when the trainer is made
  CHECK(asked([&] { trainer.step(batch.x, batch.y); }) == once);
  CHECK(asked([&] { trainer.credits(batch.x, batch.y); }) == once);
  CHECK(asked([&] { trainer.raw_credits(batch.x, batch.y); }) == once);
  CHECK(asked([&] { trainer.gradients(batch.x, batch.y); }) == once);
  CHECK(asked([&] { trainer.learn(batch.x, batch.y); }) == once);
}

TEST_CASE("past the last epoch nothing moves, weight decay included", "[trainer]") {
  auto model = small_model();
  const auto batch = small_batch();
  LocalTrainer trainer(model, DFA{}, {.epochs = 1});
  trainer.end_epoch();
  const auto before = copies(model->parameters());

  trainer.step(batch.x, batch.y);

  CHECK(same(before, model->parameters()));
}

TEST_CASE("weights() are the schedule's in the present epoch, of each source", "[trainer][schedule]") {
  using Two = std::array<double, 2>;
  const auto batch = small_batch();
  LocalTrainer switched(small_model(), Mix{DFA{}, FA{}}, {}, SwitchAt{.epoch = 2});
  LocalTrainer warmed(small_model(), Mix{DFA{}, FA{}}, {}, Warmup{.epochs = 1, .ramp = 2});
  LocalTrainer alone(small_model(), DFA{});
  const std::vector<Two> of_switch{Two{1, 0}, Two{1, 0}, Two{0, 1}, Two{0, 1}};
  const std::vector<Two> of_warmup{Two{1, 0}, Two{0.5, 0.5}, Two{0, 1}, Two{0, 1}};

  for (std::size_t epoch = 0; epoch < of_switch.size(); ++epoch) {
    INFO("epoch " << epoch);
    for (int step = 0; step < 2; ++step) {
      CHECK(switched.weights() == of_switch[epoch]);
      CHECK(warmed.weights() == of_warmup[epoch]);
      CHECK(alone.weights() == std::array{1.0});
      switched.step(batch.x, batch.y);
      warmed.step(batch.x, batch.y);
    }
    switched.end_epoch();
    warmed.end_epoch();
    alone.end_epoch();
  }
}

TEST_CASE("a schedule may weigh by steps, and a loaded trainer has the weights of the loaded step",
          "[trainer][schedule][checkpoint]") {
  using Two = std::array<double, 2>;
  const TemporaryFolder folder;
  const auto batch = small_batch();
  const auto make = [] { return LocalTrainer(small_model(), Mix{DFA{}, FA{}}, {}, SecondAtOddSteps{}); };
  auto trainer = make(), resumed = make();

  CHECK(trainer.weights() == Two{1, 0});
  trainer.step(batch.x, batch.y);
  CHECK(trainer.weights() == Two{0, 1});
  trainer.save(folder / "saved");
  resumed.load(folder / "saved");
  CHECK(resumed.weights() == Two{0, 1});
  resumed.step(batch.x, batch.y);
  CHECK(resumed.weights() == Two{1, 0});
}

TEST_CASE("weights that are all 0 or not finite are refused in the epoch that has them, before a step does anything",
          "[trainer][schedule]") {
  const auto batch = batch_for(Kind::batch_norm);
  const auto message_in_epoch_two = [&](std::array<double, 2> weights) {
    auto model = stages(Kind::batch_norm);
    LocalTrainer trainer(model, Mix{DFA{}, FA{}}, {}, GivenFrom{.epoch = 2, .then = weights});
    for (int epoch = 0; epoch < 2; ++epoch) {
      trainer.step(batch.x, batch.y);
      trainer.end_epoch();
    }
    const ModuleState before(*model);

    const auto said = error_of([&] { trainer.weights(); });

    CHECK(error_of([&] { trainer.step(batch.x, batch.y); }) == said);
    CHECK(error_of([&] { trainer.credits(batch.x, batch.y); }) == said);
    CHECK(error_of([&] { trainer.gradients(batch.x, batch.y); }) == said);
    CHECK(error_of([&] { trainer.learn(batch.x, batch.y); }) == said);
    const bool refused = said != "(nothing was thrown)";
    CHECK((before == ModuleState(*model)) == refused);
    CHECK(trainer.steps() == (refused ? 2 : 3));
    return said;
  };

  CHECK(says(message_in_epoch_two({0, 0}), {"every credit source the weight 0 in epoch 2", "one must train"}));
  CHECK(says(message_in_epoch_two({1, NAN}), {"the weight nan in epoch 2", "expected a finite number"}));
  CHECK(says(message_in_epoch_two({INFINITY, 1}), {"the weight inf in epoch 2", "expected a finite number"}));
  CHECK(message_in_epoch_two({0, -2}) == "(nothing was thrown)");
}
