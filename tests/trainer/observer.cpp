// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "../models.hpp"
#include "../temporary_folder.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

// What both trainers do alike is asked of both by one function, which says what is wrong, or nothing.
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Cross-entropy that takes its time, and adds up how much.
struct SlowCrossEntropy : CrossEntropy {
  std::shared_ptr<double> seconds = std::make_shared<double>(0);

  torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor& target) const {
    const auto start = Clock::now();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    *seconds += seconds_since(start);
    return CrossEntropy::loss(logits, target);
  }
};

Batch batch_of_step(std::uint64_t step) { return batch_for(Kind::residual_mlp, torch::kFloat32, 7, step); }

/// What an observer was shown.
struct Seen {
  std::int64_t step;
  const void* trainer;
  torch::Tensor x, y, weight;
};

/// An observer that writes down what it is shown.
auto writing_into(std::vector<Seen>& seen) {
  return [&seen](auto& trainer, const torch::Tensor& x, const torch::Tensor& y) {
    seen.push_back({trainer.steps(), &trainer, x, y, trainer.model()->parameters()[0].detach().clone()});
  };
}

std::vector<std::int64_t> steps_of(const std::vector<Seen>& seen) {
  std::vector<std::int64_t> steps;
  for (const auto& look : seen) steps.push_back(look.step);
  return steps;
}

template <class Trainer>
std::string sees_every_third_step(Trainer trainer) {
  std::vector<Seen> seen;
  std::vector<torch::Tensor> xs, ys, weights;
  trainer.observe(3, writing_into(seen));

  for (std::uint64_t step = 0; step < 8; ++step) {
    const auto batch = batch_of_step(step);
    trainer.step(batch.x, batch.y);
    if (step % 4 == 3) trainer.end_epoch();
    xs.push_back(batch.x), ys.push_back(batch.y);
    weights.push_back(trainer.model()->parameters()[0].detach().clone());
  }

  if (steps_of(seen) != std::vector<std::int64_t>{3, 6}) return "it looks after other steps";
  for (const auto& look : seen) {
    const auto at = static_cast<std::size_t>(look.step - 1);
    if (look.trainer != &trainer) return "it is shown another trainer";
    if (!look.x.is_same(xs[at]) || !look.y.is_same(ys[at])) return "it is shown another batch";
    if (!torch::equal(look.weight, weights[at])) return "it is not shown the updated model";
  }
  return "";
}

template <class Trainer>
std::string keeps_its_time_apart(Trainer trainer, const double& training_seconds) {
  double within = 0;
  trainer.observe(2, [&](auto&, const torch::Tensor&, const torch::Tensor&) {
    const auto start = Clock::now();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    within += seconds_since(start);
  });
  const auto [x, y] = small_batch();
  if (trainer.observation_seconds() != 0) return "there is time before there is a step";

  const auto start = Clock::now();
  trainer.step(x, y);
  if (trainer.observation_seconds() != 0) return "there is time of a step that is not observed";
  for (int i = 0; i < 3; ++i) trainer.step(x, y);
  const double all = seconds_since(start);

  if (within < 0.01) return "it looks less than twice";
  if (trainer.observation_seconds() < within) return "the time is less than the observer's own";
  // What training takes, the objective's waiting at the least, is no part of it.
  return trainer.observation_seconds() <= all - training_seconds ? "" : "the time is not the observer's alone";
}

template <class Trainer>
std::string refuses_intervals_below_one(Trainer trainer) {
  std::vector<Seen> seen;
  trainer.observe(1, writing_into(seen));
  const auto message = [&](std::int64_t every) {
    return error_of([&] { trainer.observe(every, [](auto&, const torch::Tensor&, const torch::Tensor&) {}); });
  };
  const auto [x, y] = small_batch();

  const auto of_zero = message(0), of_less = message(-3);
  trainer.step(x, y);

  if (!says(of_zero, {"observe: the interval is 0 steps, expected at least 1"})) return of_zero;
  if (!says(of_less, {"observe: the interval is -3 steps, expected at least 1"})) return of_less;
  return seen.size() == 1 ? "" : "the observer before is gone";
}

template <class Trainer>
std::string another_takes_its_place(Trainer trainer) {
  std::vector<Seen> first, second;
  const auto [x, y] = small_batch();
  trainer.observe(1, writing_into(first));
  trainer.step(x, y);
  trainer.observe(2, writing_into(second));
  for (int i = 0; i < 3; ++i) trainer.step(x, y);
  trainer.observe(1, nullptr);
  for (int i = 0; i < 2; ++i) trainer.step(x, y);

  if (steps_of(first) != std::vector<std::int64_t>{1}) return "the first goes on";
  return steps_of(second) == std::vector<std::int64_t>{2, 4} ? "" : "the second looks after other steps, or for ever";
}

template <class Trainer>
std::string moves_with_its_trainer(Trainer trainer) {
  std::vector<Seen> seen;
  const auto [x, y] = small_batch();
  trainer.observe(1, writing_into(seen));
  Trainer moved = std::move(trainer);
  moved.step(x, y);

  if (seen.size() != 1) return "it does not look";
  return seen[0].trainer == &moved ? "" : "it is shown the trainer that was moved from";
}

/// `make` gives trainers of the same weights.
template <class Make>
std::string counts_steps_over_the_whole_run(const Make& make) {
  const TemporaryFolder folder;
  const auto [x, y] = small_batch();
  auto first = make();
  for (int i = 0; i < 3; ++i) first.step(x, y);
  first.save(folder / "saved");
  auto resumed = make();
  std::vector<Seen> seen;
  resumed.observe(2, writing_into(seen));

  resumed.load(folder / "saved");
  for (int i = 0; i < 3; ++i) resumed.step(x, y);

  return steps_of(seen) == std::vector<std::int64_t>{4, 6} ? "" : "it looks after other steps of the run";
}

/// All that three steps leave, each of which `look` sees.
template <class Trainer, class Look>
std::vector<torch::Tensor> trained(Trainer trainer, const Look& look) {
  trainer.observe(1, look);
  torch::manual_seed(4);
  const auto batch = batch_for(Kind::dropout);
  for (int i = 0; i < 3; ++i) trainer.step(batch.x, batch.y);
  auto state = copies(trainer.model()->parameters());
  for (const auto& buffer : trainer.model()->buffers()) state.push_back(buffer.clone());
  for (const auto& gradient : gradients_of(*trainer.model())) state.push_back(gradient);
  state.push_back(global_generator_state());
  return state;
}

SequentialBlocks noisy_network() {
  using namespace torch::nn;
  torch::manual_seed(2);
  return SequentialBlocks({.embed = Sequential(Linear(6, 5)),
                           .blocks = {Sequential(Linear(5, 5), BatchNorm1d(5), GELU(), Dropout(0.4))},
                           .readout = Sequential(Linear(5, small_classes)),
                           .example = torch::zeros({1, 6})});
}

/// Asks the trainer for all that it shows.
const auto ask_for_everything = [](auto& trainer, const torch::Tensor& x, const torch::Tensor& y) {
  trainer.credits(x, y);
  trainer.raw_credits(x, y);
  trainer.gradients(x, y);
};

}  // namespace

TEST_CASE("an observer sees every n-th step, its batch and the updated model, over epochs", "[trainer][observer]") {
  CHECK(sees_every_third_step(LocalTrainer(small_model(), DFA{})) == "");
  CHECK(sees_every_third_step(BackpropTrainer(small_model())) == "");
}

TEST_CASE("an observer's time is its own alone, without what training takes", "[trainer][observer]") {
  const SlowCrossEntropy local{}, whole{};

  CHECK(keeps_its_time_apart(LocalTrainer(small_model(), DFA{}, {}, {}, {}, {}, local), *local.seconds) == "");
  CHECK(keeps_its_time_apart(BackpropTrainer(small_model(), {}, whole), *whole.seconds) == "");
  CHECK(*local.seconds > 0.015);
  CHECK(*whole.seconds > 0.015);
}

TEST_CASE("an interval below one step is refused, and the observer before stays", "[trainer][observer]") {
  CHECK(refuses_intervals_below_one(LocalTrainer(small_model(), DFA{})) == "");
  CHECK(refuses_intervals_below_one(BackpropTrainer(small_model())) == "");
}

TEST_CASE("a second observer takes the place of the first, and an empty one of both", "[trainer][observer]") {
  CHECK(another_takes_its_place(LocalTrainer(small_model(), DFA{})) == "");
  CHECK(another_takes_its_place(BackpropTrainer(small_model())) == "");
}

TEST_CASE("an observer moves with its trainer, and is shown that one", "[trainer][observer]") {
  CHECK(moves_with_its_trainer(LocalTrainer(small_model(), DFA{})) == "");
  CHECK(moves_with_its_trainer(BackpropTrainer(small_model())) == "");
}

TEST_CASE("an observer's interval counts the steps of the whole run, those before a checkpoint too",
          "[trainer][observer][checkpoint]") {
  CHECK(counts_steps_over_the_whole_run([] { return LocalTrainer(small_model(), DFA{}); }) == "");
  CHECK(counts_steps_over_the_whole_run([] { return BackpropTrainer(small_model()); }) == "");
}

TEST_CASE("a run whose observer asks for everything is the run without it, to the bit", "[trainer][observer]") {
  const auto local = [](const auto& look) { return trained(LocalTrainer(noisy_network(), Oracle{}), look); };
  const auto whole = [](const auto& look) { return trained(BackpropTrainer(noisy_network()), look); };

  CHECK(same(local(ask_for_everything), local(nullptr)));
  CHECK(same(whole(ask_for_everything), whole(nullptr)));
}
