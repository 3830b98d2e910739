// SPDX-License-Identifier: Apache-2.0
#include <creditlib/any_trainer.hpp>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../examples/registry/rules.hpp"
#include "models.hpp"
#include "temporary_folder.hpp"
#include "test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

static_assert(std::is_nothrow_move_constructible_v<AnyTrainer> && !std::is_copy_constructible_v<AnyTrainer>);
static_assert(std::is_convertible_v<LocalTrainer<ResidualMLP, DFA>, AnyTrainer>);
static_assert(!std::is_constructible_v<AnyTrainer, ResidualMLP>);

using Dfa = LocalTrainer<ResidualMLP, DFA>;

Dfa dfa_trainer(TrainerOptions options = {.epochs = 4, .seed = 7}) { return Dfa(small_model(), DFA{}, options); }

/// Small nets and few steps, so that a rule is quick.
registry::RuleSettings quick_rules() {
  registry::RuleSettings s{.epochs = 4, .batch_size = 7};
  s.vec.hidden = s.value_net.hidden = s.state_predictor.hidden = 8;
  s.vec.layers = s.value_net.layers = s.state_predictor.layers = 1;
  s.vec.directions = s.value_net.samples = 2;
  s.ep.steps = 2;
  return s;
}

}  // namespace

TEST_CASE("AnyTrainer has the numbers of the trainer that it holds, for every rule", "[any_trainer]") {
  const auto batch = small_batch();
  const auto& [x, y] = batch;
  for (const auto& name : registry::rule_names()) {
    INFO(name);
    const bool known = registry::with_rule(name, [&](const auto& rule) {
      const auto parts = rule.make(quick_rules());
      const TrainerOptions options{.epochs = 4, .seed = 7};
      const auto make = [&] {
        if constexpr (std::is_same_v<decltype(parts), const registry::Backprop>) {
          return BackpropTrainer(small_model(), options);
        } else {
          return LocalTrainer(small_model(), parts.credit, options, parts.schedule, parts.normalizer);
        }
      };
      auto own = make();
      AnyTrainer any = make();

      for (int epoch = 0; epoch < 2; ++epoch) {
        CHECK(same(any.credits(x, y), own.credits(x, y)));
        CHECK(same(any.raw_credits(x, y), own.raw_credits(x, y)));
        CHECK(same(any.gradients(x, y), own.gradients(x, y)));
        const auto a = any.step(x, y), b = own.step(x, y);
        CHECK(same({a.loss, a.correct}, {b.loss, b.correct}));
        any.learn(x, y);
        own.learn(x, y);
        any.end_epoch();
        own.end_epoch();
      }

      CHECK(same(any.parameters(), own.model()->parameters()));
      CHECK(same({any.forward(x)}, {own.model()->forward(x)}));
      CHECK(any.rate() == own.rate());
      CHECK(any.epoch() == 2);
      CHECK(any.steps() == 2);
      CHECK(any.path() == own.path());
      CHECK(any.options().seed == 7);
    });
    CHECK(known);
  }
}

TEST_CASE("AnyTrainer shares the model and shows it as a module", "[any_trainer]") {
  auto model = small_model();
  AnyTrainer any = BackpropTrainer(model);

  CHECK(&any.module() == model.get());
  any.eval();
  CHECK_FALSE(model->is_training());
  CHECK_FALSE(any.is_training());
  any.train();
  CHECK(model->is_training());
  const auto named = any.named_parameters();
  REQUIRE(named.size() == model->parameters().size());
  for (const auto& [name, parameter] : named) CHECK(parameter.is_same(model->named_parameters()[name]));
}

TEST_CASE("AnyTrainer gives the schedule's weights, one for back-propagation", "[any_trainer]") {
  AnyTrainer bp = BackpropTrainer(small_model());
  AnyTrainer mix = LocalTrainer(small_model(), Mix{DFA{}, Oracle{}}, {.epochs = 4}, SwitchAt{.epoch = 1});

  CHECK(bp.weights() == std::vector<double>{1});
  CHECK(mix.weights() == std::vector<double>{1, 0});
  mix.end_epoch();
  CHECK(mix.weights() == std::vector<double>{0, 1});
}

TEST_CASE("AnyTrainer's credit tensors are the state's own, those of a Mix behind its sources' names",
          "[any_trainer]") {
  AnyTrainer bp = BackpropTrainer(small_model());
  AnyTrainer any = dfa_trainer();
  AnyTrainer mix = LocalTrainer(small_model(), Mix{Oracle{}, DFA{}}, {}, SwitchAt{.epoch = 1});

  CHECK(bp.credit_tensors().empty());
  REQUIRE(any.target<Dfa>() != nullptr);
  const auto tensors = any.credit_tensors();
  REQUIRE(!tensors.empty());
  CHECK(tensors[0].first == "feedback.0");
  CHECK(tensors[0].second.is_same(any.target<Dfa>()->state().feedback[0]));
  CHECK(mix.credit_tensors().at(0).first == "second.feedback.0");
}

TEST_CASE("AnyTrainer saves and loads what its trainer does", "[any_trainer]") {
  const TemporaryFolder folder;
  const auto [x, y] = small_batch();
  AnyTrainer first = dfa_trainer(), other = dfa_trainer({.epochs = 4, .seed = 8});
  auto typed = dfa_trainer({.epochs = 4, .seed = 9});
  first.step(x, y);
  first.end_epoch();

  first.save(folder / "checkpoint");
  other.load(folder / "checkpoint");
  typed.load(folder / "checkpoint");

  CHECK(other.epoch() == 1);
  CHECK(same(other.parameters(), first.parameters()));
  CHECK(same(other.credits(x, y), first.credits(x, y)));
  CHECK(same(typed.credits(x, y), first.credits(x, y)));
}

TEST_CASE("target() is the held trainer of its own type alone, and stays where it is", "[any_trainer]") {
  AnyTrainer any = dfa_trainer();
  const auto* before = any.target<Dfa>();

  AnyTrainer moved = std::move(any);

  CHECK(before != nullptr);
  CHECK(moved.target<Dfa>() == before);
  CHECK(std::as_const(moved).target<Dfa>() == before);
  CHECK(moved.target<BackpropTrainer<ResidualMLP>>() == nullptr);
}

TEST_CASE("AnyTrainer's failures are Errors, a use after a move among them", "[any_trainer]") {
  const auto [x, y] = small_batch();
  AnyTrainer any = dfa_trainer();

  CHECK(says(error_of([&] { any.step(x.to(torch::kFloat64), y); }), {"The batch x"}));
  CHECK(error_of([&] { any.forward(torch::zeros({2, 99})); }).find('(') != 0);
  AnyTrainer moved = std::move(any);
  CHECK(says(error_of([&] { any.step(x, y); }), {"moved from"}));
  CHECK(says(error_of([&] { any.epoch(); }), {"moved from"}));
}

TEST_CASE("every rule and control of the registry has a name of its own", "[registry]") {
  const auto names = registry::method_names();

  for (std::size_t i = 0; i < names.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) CHECK(names[i] != names[j]);
  }
  for (const auto& control : registry::controls) CHECK(registry::with_rule(control.rule, [](const auto&) {}));
  CHECK_FALSE(registry::with_rule("bpp", [](const auto&) {}));
  CHECK(registry::methods_text().find("bp, fa, dfa, oracle, ") == 0);
}
