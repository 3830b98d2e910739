// SPDX-License-Identifier: Apache-2.0
// Trainers in real processes over Gloo; data_parallel.cpp has the laws of every rule, in threads.
#include <chrono>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/equilibrium_propagation.hpp>
#include <creditlib/credit/forward_dfa.hpp>
#include <creditlib/credit/forward_gradient.hpp>
#include <creditlib/credit/mono_forward.hpp>
#include <creditlib/credit/state_predictor.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/distributed/from_environment.hpp>
#include <creditlib/local_trainer.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../models.hpp"
#include "../temporary_folder.hpp"
#include "processes.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

constexpr std::int64_t training_rows = 9;

Batch training_batch(std::int64_t step, Kind kind = Kind::residual_mlp) {
  return batch_for(kind, torch::kFloat64, training_rows, static_cast<std::uint64_t>(100 + step));
}
Batch own_rows(const Batch& batch, const distributed::Group& group) {
  const auto first = group.rank() * training_rows / group.size();
  const auto count = (group.rank() + 1) * training_rows / group.size() - first;
  return {batch.x.narrow(0, first, count), batch.y.narrow(0, first, count)};
}

template <class Trainer>
void check_equal(Trainer& together, Trainer& alone, const distributed::Group& group, Kind kind = Kind::residual_mlp) {
  for (std::int64_t step = 0; step < 24; ++step) {
    const auto all = training_batch(step, kind), own = own_rows(all, group);
    if (step == 5) {
      const auto expected = alone.gradients(all.x, all.y), found = together.gradients(own.x, own.y);
      for (std::size_t i = 0; i < found.size(); ++i) CHECK(torch::allclose(found[i], expected[i], 0, 1e-12));
    }
    const auto expected = alone.step(all.x, all.y), found = together.step(own.x, own.y);
    CHECK(found.loss.template item<double>() == Approx(expected.loss.template item<double>()).epsilon(1e-10));
    CHECK(torch::equal(found.correct, expected.correct));
  }
  together.end_epoch();
  const auto found = together.model()->parameters(), expected = alone.model()->parameters();
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(torch::allclose(found[i], expected[i], 0, 1e-11));
}

/// The laws of a rule on token ids, on blocks that are run by autograd alone.
template <class Rule>
void hold_on_tokens(const Rule& rule, const std::shared_ptr<distributed::Group>& group) {
  const auto seed = static_cast<std::uint64_t>(1 + group->rank());
  LocalTrainer together(stages(Kind::tokens, torch::kFloat64, seed), rule, {.epochs = 3, .group = group});
  LocalTrainer alone(stages(Kind::tokens, torch::kFloat64), rule, {.epochs = 3});
  check_equal(together, alone, *group, Kind::tokens);
}

std::filesystem::path run_folder() { return creditlib::detail::environment_variable("RUN_FOLDER").value(); }

std::string bytes_of_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

// ---- What each of several processes runs ----

TEST_CASE("rank: laws", "[.rank]") {
  const auto group = distributed::from_environment({.timeout = std::chrono::seconds(20)});
  const auto seed = static_cast<std::uint64_t>(1 + group->rank());
  const TrainerOptions options{.clip_norm = 0.1, .epochs = 3};
  auto joint = options;
  joint.group = group;

  LocalTrainer dfa(residual_mlp(torch::kFloat64, seed), DFA{}, joint);
  LocalTrainer dfa_alone(residual_mlp(torch::kFloat64), DFA{}, options);
  check_equal(dfa, dfa_alone, *group);
  BackpropTrainer bp(residual_mlp(torch::kFloat64, seed), joint);
  BackpropTrainer bp_alone(residual_mlp(torch::kFloat64), options);
  check_equal(bp, bp_alone, *group);
}

TEST_CASE("rank: laws of learning rules", "[.rank]") {
  const auto group = distributed::from_environment({.timeout = std::chrono::seconds(20)});
  hold_on_tokens(Vec{.directions = 2, .hidden = 8, .layers = 2, .time = 4}, group);
  hold_on_tokens(StatePredictor{.hidden = 8, .time = 4}, group);
  hold_on_tokens(ForwardGradient{}, group);
  hold_on_tokens(ForwardDFA{.lr = 1e-2}, group);
  hold_on_tokens(MonoForward{}, group);
  hold_on_tokens(EquilibriumPropagation{.steps = 3, .inner_mean = true}, group);
}

// 40 steps of which every tenth is kept, from the last one kept; rank 1 ends after the step KILLED_AFTER.
TEST_CASE("rank: resumable run", "[.rank]") {
  const auto group = distributed::from_environment({.timeout = std::chrono::seconds(20)});
  LocalTrainer trainer(residual_mlp(torch::kFloat64), DFA{}, {.epochs = 4, .group = group});
  const auto kept = run_folder() / "run.pt";
  if (std::filesystem::exists(kept)) trainer.load(kept);
  const auto killed_after = std::stoll(creditlib::detail::environment_variable("KILLED_AFTER").value_or("-1"));
  try {
    while (trainer.steps() < 40) {
      const auto own = own_rows(training_batch(trainer.steps()), *group);
      trainer.step(own.x, own.y);
      if (trainer.steps() == killed_after && group->rank() == 1) std::raise(SIGKILL);
      if (trainer.steps() % 10 != 0) continue;
      trainer.end_epoch();
      if (group->rank() == 0) trainer.save(kept);
    }
  } catch (const Error& error) {
    std::cout << error.what() << std::endl;
    std::_Exit(7);
  }
}

// ---- What starts them ----

TEST_CASE("processes over Gloo train as one does", "[distributed][law]") {
  for (const int size : {2, 3}) {
    for (const auto& ended : ran_as_ranks(size, "rank: laws")) {
      INFO(ended.output);
      CHECK(ended.code == 0);
    }
  }
}

TEST_CASE("processes over Gloo train as one does: rules that learn, draw and settle", "[distributed][law]") {
  for (const auto& ended : ran_as_ranks(2, "rank: laws of learning rules")) {
    INFO(ended.output);
    CHECK(ended.code == 0);
  }
}

TEST_CASE("a run whose process was killed goes on from its checkpoint to the same bits", "[distributed]") {
  const TemporaryFolder whole, interrupted;
  const auto run = [](const TemporaryFolder& folder, Variables variables) {
    variables.emplace_back("RUN_FOLDER", folder.path().string());
    return ran_as_ranks(2, "rank: resumable run", variables);
  };
  for (const auto& ended : run(whole, {})) REQUIRE(ended.code == 0);

  const auto killed = run(interrupted, {{"KILLED_AFTER", "23"}});
  CHECK(killed[1].code == 128 + SIGKILL);
  INFO(killed[0].output);
  CHECK(killed[0].code == 7);
  CHECK(killed[0].output.find("Rank 1 is gone") != std::string::npos);
  for (const auto& ended : run(interrupted, {})) CHECK(ended.code == 0);

  const auto expected = bytes_of_file(whole.path() / "run.pt");
  CHECK_FALSE(expected.empty());
  CHECK((bytes_of_file(interrupted.path() / "run.pt") == expected));
}
