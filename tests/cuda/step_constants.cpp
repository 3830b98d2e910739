// SPDX-License-Identifier: Apache-2.0
#include <ATen/autocast_mode.h>

#include <array>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/direct_kolen_pollack.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/mono_forward.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/credit/state_predictor.hpp>
#include <creditlib/cuda/detail/step_constants.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/schedule/switch_at.hpp>

#include "../models.hpp"
#include "../temporary_folder.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Whether the constants of the trainer's step are others after `action`.
template <class Trainer, class Action>
bool change(Trainer& trainer, const Action& action) {
  creditlib::detail::StepConstants constants(trainer);
  const auto before = constants.of(trainer);
  REQUIRE_FALSE(before.empty());
  action();
  return constants.of(trainer) != before;
}

template <class Credit>
constexpr bool graphable = creditlib::detail::TrainersCredit<LocalTrainer<ResidualMLP, Credit>>::graphable();

}  // namespace

TEST_CASE("a step's constants stay while a run goes on", "[cuda]") {
  auto model = stages(Kind::batch_norm);
  const auto [x, y] = batch_for(Kind::batch_norm);
  LocalTrainer trainer(model, DFA{}, {.epochs = 3});
  const TemporaryFolder folder;

  CHECK_FALSE(change(trainer, [&] {
    for (int i = 0; i < 3; ++i) trainer.step(x, y);
    trainer.end_epoch();
    trainer.credits(x, y);
    trainer.save(folder / "run.pt");
    trainer.step(x, y);
    trainer.load(folder / "run.pt");
  }));
}

TEST_CASE(
    "a step's constants change with the place of a parameter or a buffer, with what is trained, and with a module's "
    "mode",
    "[cuda]") {
  auto model = stages(Kind::batch_norm);
  LocalTrainer trainer(model, DFA{});

  CHECK(change(trainer, [&] { model->parameters()[1].set_data(model->parameters()[1].detach().clone()); }));
  CHECK(change(trainer, [&] { model->buffers()[0].set_data(model->buffers()[0].clone()); }));
  CHECK(change(trainer, [&] { model->parameters()[0].set_requires_grad(false); }));
  CHECK(change(trainer, [&] { model->eval(); }));
  CHECK_FALSE(change(trainer, [&] { model->eval(); }));
  CHECK(change(trainer, [&] { model->modules().back()->train(); }));
}

TEST_CASE("a step's constants change with the place of a source's tensors, not with their numbers", "[cuda]") {
  auto model = small_model();
  LocalTrainer alone(model, FA{});
  LocalTrainer mixed(model, Mix{DFA{}, FA{}}, {}, SwitchAt{.epoch = 2});

  CHECK(change(alone, [&] { alone.state().feedback[1] = alone.state().feedback[1].clone(); }));
  CHECK_FALSE(change(alone, [&] { alone.state().feedback[1].mul_(2); }));
  CHECK(change(mixed, [&] { mixed.state().second.feedback[1] = mixed.state().second.feedback[1].clone(); }));
}

TEST_CASE("a step's constants change with the schedule's weights", "[cuda]") {
  auto model = small_model();
  LocalTrainer trainer(model, Mix{DFA{}, FA{}}, {}, SwitchAt{.epoch = 2});

  CHECK_FALSE(change(trainer, [&] { trainer.end_epoch(); }));
  CHECK(change(trainer, [&] { trainer.end_epoch(); }));
  CHECK_FALSE(change(trainer, [&] { trainer.end_epoch(); }));
}

TEST_CASE("a step's constants change with which sources learn", "[cuda]") {
  struct LearnsLater {
    std::array<double, 1> weights(const Progress&) const { return {1}; }
    std::array<bool, 1> learns(const Progress& now) const { return {now.epoch >= 1}; }
  };
  LocalTrainer trainer(small_model(), DirectKolenPollack{}, {}, LearnsLater{});

  CHECK(change(trainer, [&] { trainer.end_epoch(); }));
  CHECK_FALSE(change(trainer, [&] { trainer.end_epoch(); }));
}

TEST_CASE("a step's constants change with autocast and its dtype", "[cuda]") {
  const auto autocast = [](bool on, torch::Dtype dtype) {
    at::autocast::set_autocast_enabled(at::kCPU, on);
    at::autocast::set_autocast_dtype(at::kCPU, dtype);
  };
  auto model = small_model();
  LocalTrainer trainer(model, DFA{}, {.path = Path::Generic});

  CHECK(change(trainer, [&] { autocast(true, torch::kBFloat16); }));
  CHECK(change(trainer, [&] { autocast(true, torch::kFloat16); }));
  CHECK(change(trainer, [&] { autocast(false, torch::kBFloat16); }));
}

TEST_CASE("back-propagation has constants too", "[cuda]") {
  auto model = small_model();
  BackpropTrainer trainer(model);

  CHECK_FALSE(change(trainer, [&] { trainer.end_epoch(); }));
  CHECK(change(trainer, [&] { model->parameters()[0].set_data(model->parameters()[0].detach().clone()); }));
}

TEST_CASE("a graph can hold the steps of sources that change nothing on the host", "[cuda]") {
  // The others are sentences of the compiler's: tests/compile_fail.
  STATIC_REQUIRE(graphable<DFA>);
  STATIC_REQUIRE(graphable<FA>);
  STATIC_REQUIRE(graphable<Oracle>);
  STATIC_REQUIRE(graphable<StatePredictor>);
  STATIC_REQUIRE(graphable<DirectKolenPollack>);
  STATIC_REQUIRE(graphable<MonoForward>);
  STATIC_REQUIRE(graphable<Mix<DFA, Oracle>>);
  STATIC_REQUIRE(creditlib::detail::TrainersCredit<BackpropTrainer<ResidualMLP>>::graphable());
}
