// SPDX-License-Identifier: Apache-2.0
#include <c10/util/Exception.h>

#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/optim/rate.hpp>
#include <creditlib/rate/constant.hpp>
#include <creditlib/rate/cosine.hpp>
#include <creditlib/rate/one_cycle.hpp>
#include <creditlib/rate/reduce_on_plateau.hpp>
#include <creditlib/rate/warmup_cosine.hpp>
#include <string>
#include <vector>

#include "../models.hpp"
#include "../temporary_folder.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Takes LibTorch's warnings while it lives.
class Warnings final : public c10::WarningHandler {
 public:
  Warnings() : guard_(this) {}
  void process(const c10::Warning& warning) override { said.push_back(warning.msg()); }

  std::vector<std::string> said;

 private:
  c10::WarningUtils::WarningHandlerGuard guard_;
};

/// One step on a batch that stays.
template <class Trainer>
void step(Trainer& trainer) {
  const auto batch = small_batch();
  trainer.step(batch.x, batch.y);
}

}  // namespace

TEST_CASE("rate::Cosine and rate::Constant are what the options' shorthand says", "[rate]") {
  for (std::int64_t epoch = 0; epoch < 9; ++epoch) {
    const Progress now{.epoch = epoch, .epochs = 6, .step = 100, .epoch_step = 3};
    CHECK(1e-2 * rate::Cosine{}(now) == optim::rate_at(Rate::Cosine, 1e-2, epoch, 6));
    CHECK(rate::Constant{}(now) == 1);
  }
}

TEST_CASE("rate::WarmupCosine grows by step, then falls by step or by epoch", "[rate]") {
  const auto at = [](const rate::WarmupCosine& rate, std::int64_t step, std::int64_t epoch = 0) {
    return rate({.epoch = epoch, .epochs = 4, .step = step});
  };

  const rate::WarmupCosine by_step{.steps = 4, .total = 12};
  CHECK(at(by_step, 0) == 0.25);
  CHECK(at(by_step, 3) == 1);
  CHECK(at(by_step, 4) == 1);
  CHECK(at(by_step, 8) == Approx(0.5));
  CHECK(at(by_step, 10) == Approx((1 - std::sqrt(0.5)) / 2));
  CHECK(at(by_step, 12) == 0);
  CHECK(at(by_step, 99) == 0);
  const rate::WarmupCosine by_epoch{.steps = 4};
  CHECK(at(by_epoch, 1, 0) == 0.5);
  CHECK(at(by_epoch, 1, 2) == Approx(0.25));
  CHECK(at(by_epoch, 50, 2) == Approx(0.5));
  CHECK(at(by_epoch, 50, 4) == 0);
  CHECK(at(rate::WarmupCosine{}, 0) == 1);
}

TEST_CASE("rate::OneCycle has the numbers of torch.optim's OneCycleLR", "[rate]") {
  // OneCycleLR(SGD(lr=1), max_lr=1, total_steps=10).get_last_lr() before each step, PyTorch 2.11
  const std::vector<double> expected{0.040000000000000036,
                                     0.52,
                                     1.0,
                                     0.9504846320134737,
                                     0.8117456539497631,
                                     0.6112620219362893,
                                     0.38874197806371075,
                                     0.18825834605023697,
                                     0.049519367986526286,
                                     4e-06};
  const rate::OneCycle rate{.total = 10};

  for (std::size_t step = 0; step < expected.size(); ++step) {
    CHECK(rate({.step = static_cast<std::int64_t>(step)}) == Approx(expected[step]).epsilon(1e-9));
  }
  CHECK(rate({.step = 10}) == rate.end);
}

TEST_CASE("rate::ReduceOnPlateau does what torch.optim's ReduceLROnPlateau does", "[rate]") {
  const auto run = [](const rate::ReduceOnPlateau& options, const std::vector<double>& values) {
    auto rate = options.bind();
    std::vector<double> factors;
    for (const double value : values) {
      rate.report(value);
      factors.push_back(rate({}));
    }
    return factors;
  };
  // ReduceLROnPlateau(SGD(lr=1), ...) after each step(value), PyTorch 2.11
  CHECK(run({.factor = 0.5, .patience = 1}, {3, 2, 2, 2, 2, 1, 1, 1, 1, 1}) ==
        std::vector<double>{1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125});
  CHECK(run({.factor = 0.5, .patience = 0, .cooldown = 2, .least = 0.2}, {1, 2, 2, 2, 2, 2, 2, 2, 2, 2}) ==
        std::vector<double>{1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2});
  CHECK(run({.factor = 0.5, .patience = 0, .threshold = 0.1, .maximize = true}, {1, 1.05, 1.2, 1.1, 2}) ==
        std::vector<double>{1.0, 0.5, 0.5, 0.25, 0.25});
  CHECK(run({.factor = 0.5, .patience = 0}, {1, std::nan("")}) == std::vector<double>{1, 0.5});
}

TEST_CASE("a trainer reports to its rate, whose state a checkpoint keeps", "[rate][trainer]") {
  const TemporaryFolder folder;
  auto model = small_model(), other = small_model();
  const rate::ReduceOnPlateau plateau{.factor = 0.5, .patience = 1};
  LocalTrainer trainer(model, DFA{}, {.lr = 0.1}, plateau), resumed(other, DFA{}, {.lr = 0.1}, plateau);
  trainer.report(1);
  trainer.report(2);
  CHECK(trainer.rate() == 0.1);
  trainer.save(folder / "checkpoint");
  trainer.report(2);
  CHECK(trainer.rate() == 0.05);

  resumed.load(folder / "checkpoint");
  CHECK(resumed.rate() == 0.1);
  resumed.report(2);
  CHECK(resumed.rate() == 0.05);

  LocalTrainer cosine(model, DFA{});
  CHECK(says(error_of([&] { cosine.report(1); }), {"report: this trainer's rate takes no reports", "ReduceOnPlateau"}));
}

TEST_CASE("a rate is asked before every step, with the step within the epoch", "[rate][trainer]") {
  const TemporaryFolder folder;
  auto model = small_model();
  std::vector<Progress> asked;
  const auto make = [&] {
    return LocalTrainer(model, DFA{}, {.lr = 0.1, .epochs = 3}, [&asked](const Progress& now) {
      asked.push_back(now);
      return 1 / static_cast<double>(1 + now.step);
    });
  };
  auto trainer = make();
  CHECK(asked.size() == 1);  // an invalid rate is refused at once
  asked.clear();

  for (int epoch = 0; epoch < 2; ++epoch) {
    for (int i = 0; i < 3; ++i) step(trainer);
    trainer.end_epoch();
  }
  step(trainer);

  REQUIRE(asked.size() == 7);
  for (std::int64_t i = 0; i < 7; ++i) {
    const auto& now = asked[static_cast<std::size_t>(i)];
    CHECK((now.step == i && now.epoch == i / 3 && now.epoch_step == i % 3 && now.epochs == 3));
  }
  trainer.save(folder / "checkpoint");
  auto resumed = make();
  resumed.load(folder / "checkpoint");
  asked.clear();
  CHECK(resumed.rate() == 0.1 / 8);
  CHECK((asked.back().step == 7 && asked.back().epoch == 2 && asked.back().epoch_step == 1));
}

TEST_CASE("the update has the rate's factor: SGD's step is that much shorter", "[rate][trainer]") {
  const auto moved = [](auto... rates) {
    auto model = small_model(torch::kFloat64);
    const auto before = copies(model->parameters());
    LocalTrainer trainer(model, DFA{}, {.lr = 0.1, .weight_decay = 0}, optimizer::SGD{.momentum = 0}, rates...);
    const auto batch = small_batch(torch::kFloat64);
    trainer.step(batch.x, batch.y);
    std::vector<torch::Tensor> steps;
    for (std::size_t i = 0; i < before.size(); ++i) steps.push_back(model->parameters()[i].detach() - before[i]);
    return steps;
  };
  auto whole = moved();
  for (auto& step : whole) step = step / 4;

  CHECK(distance(moved([](const Progress&) { return 0.25; }), whole) < 1e-12);
}

TEST_CASE("that the rate has fallen to 0 is said once", "[rate][trainer]") {
  Warnings warnings;
  auto model = small_model();
  LocalTrainer trainer(model, DFA{}, {.epochs = 1});
  step(trainer);
  trainer.end_epoch();
  CHECK(warnings.said.empty());

  for (int i = 0; i < 3; ++i) step(trainer);

  REQUIRE(warnings.said.size() == 1);
  CHECK(says(warnings.said[0], {"the learning rate is 0 in epoch 1, step 1", "TrainerOptions::epochs is 1"}));
  LocalTrainer constant(model, DFA{}, {.epochs = 1, .rate = Rate::Constant});
  constant.end_epoch();
  for (int i = 0; i < 3; ++i) step(constant);
  CHECK(warnings.said.size() == 1);
}

TEST_CASE("a rate that becomes invalid is refused before the step", "[rate][trainer][errors]") {
  auto model = small_model();
  LocalTrainer trainer(model, DFA{}, {}, [](const Progress& now) { return now.step < 1 ? 1.0 : std::nan(""); });
  step(trainer);
  const auto before = copies(model->parameters());

  CHECK(says(error_of([&] { step(trainer); }), {"The rate gives the factor nan in epoch 0, step 1"}));

  CHECK(same(copies(model->parameters()), before));
  CHECK(trainer.steps() == 1);
}
