// SPDX-License-Identifier: Apache-2.0
#include <creditlib/any_trainer.hpp>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/equilibrium_propagation.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/state_predictor.hpp>
#include <creditlib/credit/value_net.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/rate/reduce_on_plateau.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <creditlib/trainer/checkpoint.hpp>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "../models.hpp"
#include "../rules.hpp"
#include "../temporary_folder.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// All that a step can change, by name.
std::map<std::string, torch::Tensor> state_of(AnyTrainer& trainer) {
  const TemporaryFolder folder;
  trainer.save(folder / "state");
  auto state = creditlib::detail::load_tensors(folder / "state");
  for (const auto& [name, parameter] : trainer.named_parameters()) {
    if (parameter.grad().defined()) state["grad " + name] = parameter.grad().clone();
  }
  state["global generator"] = global_generator_state();
  return state;
}

bool same_state(const std::map<std::string, torch::Tensor>& a, const std::map<std::string, torch::Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [name, tensor] : a) {
    if (!b.contains(name) || !torch::equal(tensor, b.at(name))) {
      UNSCOPED_INFO(name);
      return false;
    }
  }
  return true;
}

/// Rehearsed steps change nothing, and neither what the following steps give.
void check_leaves_no_trace(AnyTrainer rehearses, AnyTrainer does_not, Kind kind) {
  const auto batch = batch_for(kind), other = batch_for(kind, torch::kFloat32, 7, 12);
  const auto step = [&](AnyTrainer& trainer) {
    torch::manual_seed(9);
    trainer.step(batch.x, batch.y);
  };
  step(rehearses);
  step(does_not);
  const auto before = state_of(rehearses);

  rehearses.rehearse([&] {
    rehearses.step(other.x, other.y);
    rehearses.end_epoch();
    rehearses.step(batch.x, batch.y);
    CHECK(!same_state(state_of(rehearses), before));
  });

  CHECK(same_state(state_of(rehearses), before));
  CHECK(rehearses.steps() == 1);
  step(rehearses);
  step(does_not);
  auto found = state_of(rehearses), expected = state_of(does_not);
  for (auto* state : {&found, &expected}) state->erase("optimizer.serialized");  // has addresses in it
  CHECK(same_state(found, expected));
}

template <class Make>
void check_leaves_no_trace(const Make& make, Kind kind = Kind::residual_mlp) {
  check_leaves_no_trace(make(), make(), kind);
}

}  // namespace

TEST_CASE("rehearsed steps leave no trace, whatever the rule, the optimizer and the network", "[trainer]") {
  check_leaves_no_trace([] { return LocalTrainer(small_model(), DFA{}); });
  check_leaves_no_trace([] { return BackpropTrainer(small_model(), {.optimizer = Optimizer::SGD, .momentum = .9}); });
  check_leaves_no_trace([] { return LocalTrainer(small_model(), Vec{}); });
  check_leaves_no_trace([] { return LocalTrainer(small_model(), ValueNet{}); });
  check_leaves_no_trace([] { return LocalTrainer(small_model(), StatePredictor{}); });
  check_leaves_no_trace([] { return LocalTrainer(small_model(), NoisyProjection{}); });
  check_leaves_no_trace([] { return LocalTrainer(small_model(), Mix{Vec{}, DFA{}}, {}, SwitchAt{.epoch = 1}); });
  check_leaves_no_trace(
      [] {
        auto model = stages(Kind::batch_norm);
        return LocalTrainer(model, DFA{}, {}, rate::ReduceOnPlateau{});
      },
      Kind::batch_norm);
  check_leaves_no_trace([] { return LocalTrainer(stages(Kind::dropout), DFA{}); }, Kind::dropout);
  check_leaves_no_trace([] {
    auto model = small_model();
    return LocalTrainer(model, DFA{}, {}, torch::optim::Adam(model->parameters()));
  });
}

TEST_CASE("what a rehearsal throws arrives, and everything is put back", "[trainer]") {
  AnyTrainer trainer = LocalTrainer(small_model(), DFA{});
  const auto batch = small_batch();
  trainer.step(batch.x, batch.y);
  const auto before = state_of(trainer);
  const auto failing = [&] {
    trainer.rehearse([&] {
      trainer.step(batch.x, batch.y);
      trainer.step(batch.x, batch.y.slice(0, 1));
    });
  };
  CHECK(says(error_of(failing), {"expected one for each of the 7 samples"}));
  CHECK(same_state(state_of(trainer), before));
}

TEST_CASE("observers do not see a rehearsal, and see what follows", "[trainer]") {
  LocalTrainer trainer(small_model(), DFA{});
  const auto batch = small_batch();
  int seen = 0;
  trainer.observe(1, [&](auto&, const auto&, const auto&) { ++seen; });
  trainer.rehearse([&] { trainer.step(batch.x, batch.y); });
  CHECK(seen == 0);
  trainer.step(batch.x, batch.y);
  CHECK(seen == 1);
}

TEST_CASE("between backward and end_step there is no rehearsal", "[trainer]") {
  LocalTrainer trainer(small_model(), DFA{});
  const auto batch = small_batch();
  trainer.backward(batch.x, batch.y);
  CHECK(says(error_of([&] { trainer.rehearse([] {}); }), {"rehearse", "end_step"}));
}
