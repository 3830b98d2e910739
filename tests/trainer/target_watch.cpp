// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/objective/binary_cross_entropy.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/trainer/target_watch.hpp>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "../late_objectives.hpp"
#include "../models.hpp"
#include "../temporary_folder.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
using creditlib::detail::RangeFinding;

namespace {

torch::Tensor labels(std::initializer_list<std::int64_t> values) { return torch::tensor(std::vector(values)); }

/// A finding that arrives when it is told to, or is waited for.
struct HeldFinding {
  explicit HeldFinding(const RangeFinding& finding) : kept(finding) {}
  bool arrived() const { return *here; }
  void wait() const { *here = true; }
  const RangeFinding& finding() const { return kept; }
  torch::Device device() const { return kept.extremes.device(); }

  RangeFinding kept;
  static inline std::shared_ptr<bool> next = std::make_shared<bool>(false);
  std::shared_ptr<bool> here = next;
};

constexpr auto nothing = "(nothing was thrown)";

}  // namespace

TEST_CASE("labels out of range become the nearest class, and one of them is found", "[objective]") {
  const LateCrossEntropy objective;
  const auto check = [&](const torch::Tensor& logits, const torch::Tensor& target, const torch::Tensor& expected,
                         std::int64_t found) {
    const auto ranged = creditlib::detail::ranged_target(objective, logits, target);
    CHECK(torch::equal(ranged.target, expected));
    REQUIRE(ranged.finding.wrong());
    const auto message = error_of([&] { creditlib::detail::refuse_out_of_range(objective, logits, target); });
    CHECK(message == creditlib::detail::range_error(objective, ranged.finding));
    CHECK(says(message, {"CrossEntropy: a label is " + std::to_string(found), "expected 0..2 (the model has 3"}));
  };

  check(torch::zeros({5, 3}), labels({0, 7, -100, -3, 2}), labels({0, 2, -100, 0, 2}), 7);
  check(torch::zeros({2, 3}), labels({1, -3}), labels({1, 0}), -3);
  check(torch::zeros({2, 3}), labels({-100, -3}), labels({-100, 0}), -3);
  check(torch::zeros({2, 3}), labels({-300, -200}), labels({0, 0}), -200);
  const auto least = std::numeric_limits<std::int64_t>::min();
  check(torch::zeros({2, 3}), labels({1, least}), labels({1, 0}), least);
  check(torch::zeros({1, 2, 3}), labels({3, 2}).view({1, 2}), labels({2, 2}).view({1, 2}), 3);
  check(torch::zeros({1, 3, 2, 1}), labels({9, 0}).view({1, 2, 1}), labels({2, 0}).view({1, 2, 1}), 9);
}

TEST_CASE("labels in range stay as they are, and nothing is found", "[objective]") {
  const LateCrossEntropy objective;
  const auto logits = torch::zeros({4, 3}), target = labels({0, 2, -100, 1});

  const auto ranged = creditlib::detail::ranged_target(objective, logits, target);

  CHECK(torch::equal(ranged.target, target));
  CHECK_FALSE(ranged.finding.wrong());
  CHECK_NOTHROW(creditlib::detail::refuse_out_of_range(objective, logits, target));
}

TEST_CASE("a class that is ignored may be any number, and one of the classes", "[objective]") {
  const auto logits = torch::zeros({3, 3});
  const auto found = [&](std::int64_t ignored, const torch::Tensor& target) {
    const LateCrossEntropy objective{{.ignore_index = ignored}};
    return creditlib::detail::ranged_target(objective, logits, target).finding.wrong();
  };

  CHECK_FALSE(found(255, labels({0, 255, 2})));
  CHECK_FALSE(found(1, labels({0, 1, 2})));
  CHECK(found(1, labels({0, 1, 3})));
  CHECK(found(255, labels({0, -100, 2})));
}

TEST_CASE("targets out of 0..1 become the nearest number", "[objective]") {
  const LateBinaryCrossEntropy objective;
  const auto logits = torch::zeros({1, 3});
  const auto ranged = [&](std::vector<float> values) {
    return creditlib::detail::ranged_target(objective, logits, torch::tensor(values).view({1, 3}));
  };
  const auto message = [&](const RangeFinding& finding) { return creditlib::detail::range_error(objective, finding); };

  const auto high = ranged({0.5f, 1.5f, -2.f});
  CHECK(torch::equal(high.target, torch::tensor({{0.5f, 1.f, 0.f}})));
  CHECK(message(high.finding) == "BinaryCrossEntropy: a target is 1.5, expected 0 to 1.");
  const auto not_a_number = ranged({0.5f, NAN, 1.f});
  CHECK(torch::equal(not_a_number.target, torch::tensor({{0.5f, 0.f, 1.f}})));
  CHECK(message(not_a_number.finding) == "BinaryCrossEntropy: a target is nan, expected 0 to 1.");
  CHECK_FALSE(ranged({0, 0.5f, 1}).finding.wrong());
}

TEST_CASE("objectives look at targets on the CPU themselves, and leave others", "[objective]") {
  const auto meta = [](const torch::Tensor& t) { return t.to(torch::kMeta); };
  const auto logits = torch::zeros({2, 3}), target = labels({0, 7}), numbers = torch::full({2, 3}, 2.0);

  CHECK_FALSE(CrossEntropy{}.in_range(logits, target).defined());
  CHECK_FALSE(CrossEntropy{}.in_range(meta(logits), meta(numbers)).defined());  // a distribution
  CHECK_FALSE(BinaryCrossEntropy{}.in_range(logits, numbers).defined());
  // LibTorch has no at::where for tensors on meta: that it is called shows that these are brought into range.
  CHECK_THROWS_AS(CrossEntropy{}.in_range(meta(logits), meta(target)), c10::Error);
  CHECK_THROWS_AS(BinaryCrossEntropy{}.in_range(meta(logits), meta(numbers)), c10::Error);
  CHECK_NOTHROW(CrossEntropy{}.check(meta(logits), meta(target)));
  CHECK_THROWS_AS(CrossEntropy{}.check(logits, target), Error);
}

TEST_CASE("a watch says what was wrong once it has arrived, with the step", "[trainer]") {
  const LateCrossEntropy objective;
  const auto logits = torch::zeros({2, 3});
  creditlib::detail::TargetWatch<HeldFinding> watch;
  const auto step = [&](std::int64_t number, const torch::Tensor& target) {
    HeldFinding::next = std::make_shared<bool>(false);
    watch.in_range(objective, logits, target);
    watch.send(number);
    return HeldFinding::next;
  };
  const auto check = [&] { return error_of([&] { watch.check(objective); }); };
  const auto wait = [&] { return error_of([&] { watch.wait(objective); }); };
  const auto first = step(1, labels({0, 1})), second = step(2, labels({0, 8})), third = step(3, labels({9, 1}));
  step(4, labels({0, 1}));

  CHECK(check() == nothing);
  *second = true;  // not before the first
  CHECK(check() == nothing);
  *first = true;
  CHECK(says(check(), {"a label is 8, expected 0..2 (the model has 3 classes). It was in the batch of step 2 ",
                       "on cpu are looked at after the step", "nearest", "load a checkpoint"}));
  CHECK(check() == nothing);
  CHECK(says(wait(), {"a label is 9", "step 3 "}));
  CHECK(wait() == nothing);
  CHECK(*third);

  step(5, labels({0, 7}));
  watch.forget();
  CHECK(wait() == nothing);

  watch.in_range(objective, logits, labels({0, 7}));  // captured, and replayed twice
  const auto finding = watch.finding();
  watch.send(6, finding);
  watch.send(7, finding);
  CHECK(says(wait(), {"step 6 "}));
  CHECK(says(wait(), {"step 7 "}));
}

TEST_CASE("a watch asks nothing of objectives that have looked, or know no range", "[trainer]") {
  creditlib::detail::TargetWatch<> watch;
  const auto logits = torch::zeros({2, 3});
  const auto wrong = labels({0, 7});
  CHECK(watch.in_range(CrossEntropy{}, logits, wrong).is_same(wrong));
  CHECK_FALSE(watch.finding().defined());
  CHECK(watch.in_range(SquaredError{}, logits, logits).is_same(logits));
  watch.send(1);
  CHECK_NOTHROW(watch.wait(CrossEntropy{}));
}

TEMPLATE_TEST_CASE("a trainer takes a step with the nearest class, and says so at its next call", "[trainer]",
                   LocalWithLate, BackpropWithLate) {
  const auto batch = batch_for(Kind::residual_mlp);
  auto wrong = batch.y.clone(), nearest = batch.y.clone();
  wrong[1] = small_classes + 2;
  nearest[1] = small_classes - 1;
  const auto state = [](auto& trainer) { return copies(trainer.model()->parameters()); };
  const std::string label = "CrossEntropy: a label is " + std::to_string(small_classes + 2);
  TestType trainer(residual_mlp(), {}), expected(residual_mlp(), {});
  trainer.step(batch.x, batch.y);
  expected.step(batch.x, batch.y);
  TemporaryFolder folder;

  SECTION("step") {
    trainer.step(batch.x, wrong);
    expected.step(batch.x, nearest);
    CHECK(same(state(trainer), state(expected)));
    const auto before = state(trainer);
    CHECK(says(error_of([&] { trainer.step(batch.x, batch.y); }), {label, "in the batch of step 2 "}));
    CHECK(same(state(trainer), before));
    CHECK(trainer.steps() == 2);
    CHECK_NOTHROW(trainer.step(batch.x, batch.y));
  }
  SECTION("end_epoch") {
    trainer.step(batch.x, wrong);
    CHECK(says(error_of([&] { trainer.end_epoch(); }), {label, "step 2 "}));
    CHECK(trainer.epoch() == 0);
    trainer.end_epoch();
    CHECK(trainer.epoch() == 1);
  }
  SECTION("backward") {
    trainer.backward(batch.x, wrong);
    trainer.end_step();
    CHECK(says(error_of([&] { trainer.backward(batch.x, batch.y); }), {label, "step 2 "}));
    CHECK_NOTHROW(trainer.backward(batch.x, batch.y));
  }
  SECTION("save writes nothing") {
    trainer.step(batch.x, wrong);
    CHECK(says(error_of([&] { trainer.save(folder / "run.pt"); }), {label, "step 2 "}));
    CHECK_FALSE(std::filesystem::exists(folder / "run.pt"));
  }
  SECTION("load forgets") {
    trainer.save(folder / "run.pt");
    trainer.step(batch.x, wrong);
    trainer.load(folder / "run.pt");
    CHECK_NOTHROW(trainer.step(batch.x, batch.y));
  }
  SECTION("rehearse puts back, and what was sent before stays") {
    const auto before = state(trainer);
    CHECK(says(error_of([&] { trainer.rehearse([&] { trainer.step(batch.x, wrong); }); }), {label}));
    CHECK(same(state(trainer), before));
    CHECK_NOTHROW(trainer.end_epoch());
    trainer.step(batch.x, wrong);
    CHECK_NOTHROW(trainer.rehearse([&] { trainer.step(batch.x, batch.y); }));
    CHECK(says(error_of([&] { trainer.end_epoch(); }), {label, "step 2 "}));
  }
  SECTION("previews look at once") {
    for (const auto& message :
         {error_of([&] { trainer.credits(batch.x, wrong); }), error_of([&] { trainer.gradients(batch.x, wrong); })}) {
      CHECK(says(message, {label}));
      CHECK(message.find("step") == std::string::npos);
    }
    CHECK_NOTHROW(trainer.end_epoch());
  }
}
