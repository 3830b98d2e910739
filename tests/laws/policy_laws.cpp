// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>
#include <creditlib/loss/inner_product.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/normalizer/row_rms.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/schedule/always.hpp>
#include <creditlib/schedule/anchor.hpp>
#include <creditlib/schedule/blend.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <creditlib/schedule/warmup.hpp>
#include <creditlib/testing/policy_laws.hpp>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"
#include "subjects.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

// ---- The policies. A new one joins by one line. ----

struct WideRowRms : RowRms {
  WideRowRms() : RowRms{.eps = 0.3} {}
};
using Normalizers = std::tuple<RowRms, WideRowRms, Raw>;

struct MeanInnerProduct : InnerProduct {
  MeanInnerProduct() : InnerProduct{.mean_over_positions = true} {}
};
struct MeanPenalizedInnerProduct : PenalizedInnerProduct {
  MeanPenalizedInnerProduct() : PenalizedInnerProduct{.lambda = 0.3, .mean_over_positions = true} {}
};
using LocalLosses = std::tuple<InnerProduct, MeanInnerProduct, PenalizedInnerProduct, MeanPenalizedInnerProduct>;

using Objectives = std::tuple<CrossEntropy, SquaredError>;
struct LateSwitch : SwitchAt {
  LateSwitch() : SwitchAt{.epoch = 6, .lead = 3} {}
};
struct ShortWarmup : Warmup {
  ShortWarmup() : Warmup{.epochs = 0, .ramp = 1} {}
};
using Schedules = std::tuple<Always, Blend, SwitchAt, LateSwitch, Warmup, ShortWarmup, Anchor>;

// ---- Laws of the library's own schedules: a user's may have other weights, and let any source learn. ----

/// The weights are shares: in 0..1, and 1 together.
template <Schedule S>
Verdict weights_are_shares(const S& schedule) {
  return laws::at_every_progress([&](const Progress& now) {
    double sum = 0;
    for (const double weight : schedule.weights(now)) {
      if (!(weight >= 0 && weight <= 1)) return failed("a weight is outside 0..1");
      sum += weight;
    }
    return std::abs(sum - 1) < 1e-12 ? held() : failed("the weights are not 1 together");
  });
}

/// A source that has a weight learns.
template <Schedule S>
Verdict weighted_sources_learn(const S& schedule) {
  if constexpr (!creditlib::detail::SaysWhatLearns<S>) {
    return not_applicable("the schedule has no learns");
  } else {
    return laws::at_every_progress([&](const Progress& now) {
      const auto weights = schedule.weights(now);
      const auto learns = schedule.learns(now);
      for (std::size_t i = 0; i < weights.size(); ++i) {
        if (weights[i] != 0 && !learns[i]) return failed("a source with a weight does not learn");
      }
      return held();
    });
  }
}

/// The laws that a report has, each "held" or why it does not apply.
std::vector<std::string> said(const Report& report) {
  std::vector<std::string> all;
  for (const auto& [law, model, verdict] : report.results) all.push_back(law + ": " + verdict.text());
  return all;
}
using Said = std::vector<std::string>;

}  // namespace

TEMPLATE_LIST_TEST_CASE("a normalizer keeps shape and dtype, works sample by sample, and on factors alike",
                        "[normalizer][law]", Normalizers) {
  const auto report = testing::check_laws(TestType{});

  CHECK(report.ok());
  CHECK(said(report) == Said{"a normalizer keeps shape and dtype: held",
                             "a normalizer works on each sample alone: held",
                             "factors are normalized as the credit is: held"});
}

TEMPLATE_LIST_TEST_CASE("a local loss is a batch mean whose closed forms are those of autograd", "[loss][law]",
                        LocalLosses) {
  const auto report = testing::check_laws(TestType{});
  constexpr bool multiple = std::is_base_of_v<InnerProduct, TestType>;

  CHECK(report.ok());
  CHECK(said(report) == Said{"a local loss is a scalar: held", "a local loss is a batch mean: held",
                             "output_gradient is the gradient: held",
                             std::string("multiple_of_credit is the multiple: ") +
                                 (multiple ? "held" : "does not apply: the loss has no multiple_of_credit"),
                             "embed_loss has its gradient: held"});
}

TEMPLATE_LIST_TEST_CASE("an objective's error is the gradient of its loss, sample by sample", "[objective][law]",
                        Objectives) {
  const TestType objective;
  const auto report = testing::check_laws(objective);
  constexpr bool counts = std::is_same_v<TestType, CrossEntropy>;

  CHECK(report.ok());
  CHECK(said(report) == Said{"error is the gradient of loss: held", "loss and error are per sample: held",
                             "check refuses what loss cannot take: held",
                             std::string("correct counts samples: ") +
                                 (counts ? "held" : "does not apply: the objective has no correct")});

  // Ours refuse what loss could take too: integers for numbers, and short integers for labels.
  const auto [logits, target] = laws::outputs_for(objective, {});
  CHECK_NOTHROW(objective.check(logits, target));
  for (const auto& wrong : {laws::part_of(target), target.to(torch::kInt16), torch::Tensor()})
    CHECK_THROWS_AS(objective.check(logits, wrong), Error);
}

TEMPLATE_LIST_TEST_CASE("a schedule's weights are shares, follow from the progress alone, and go with learning",
                        "[schedule][law]", Schedules) {
  const TestType schedule;
  const auto report = testing::check_laws(schedule);
  constexpr bool says_what_learns = std::is_base_of_v<SwitchAt, TestType> || std::is_base_of_v<Warmup, TestType>;

  CHECK(report.ok());
  CHECK(said(report) == Said{"weights can be used: held", "the same progress gives the same weights: held"});
  CHECK(weights_are_shares(schedule) == held());
  CHECK(weighted_sources_learn(schedule) == (says_what_learns ? held() : not_applicable("the schedule has no learns")));
}

// Each law is asked of a policy that breaks it, and must say so.
namespace {

/// Divides by the root mean square of the batch.
struct BatchRms {
  torch::Tensor operator()(const torch::Tensor& a) const { return a / a.square().mean().sqrt(); }
};
struct InPlaceRms {
  torch::Tensor operator()(torch::Tensor a) const { return a.div_(a.square().mean().sqrt()); }
};
struct AlwaysWide {
  torch::Tensor operator()(const torch::Tensor& a) const { return a.to(torch::kFloat64); }
};
struct Flattens {
  torch::Tensor operator()(const torch::Tensor& a) const { return a.flatten(1); }
};
/// Forgets the factors' scale.
struct ForgetsScale : RowRms {
  FactoredCredit factored(const FactoredCredit& a) const {
    return {a.left, a.right, RowRms::factored({a.left, a.right}).scale};
  }
};

struct LossOfTheSum : InnerProduct {
  torch::Tensor operator()(const torch::Tensor& f, const torch::Tensor& a) const { return (f * a).sum(); }
};
struct PerSampleLoss {
  torch::Tensor operator()(const torch::Tensor& f, const torch::Tensor& a) const { return (f * a).flatten(1).sum(1); }
};
struct PenaltyWithoutItsGradient : InnerProduct {
  torch::Tensor operator()(const torch::Tensor& f, const torch::Tensor& a) const {
    return InnerProduct::operator()(f, a) + f.square().sum() / f.size(0);
  }
};

struct ErrorOfTheMean : CrossEntropy {
  torch::Tensor error(const torch::Tensor& logits, const torch::Tensor& target) const {
    return CrossEntropy::error(logits, target) / static_cast<double>(target.size(0));
  }
};
struct ChecksNothing : SquaredError {
  void check(const torch::Tensor&, const torch::Tensor&) const {}
};
struct Fraction : CrossEntropy {
  torch::Tensor correct(const torch::Tensor& logits, const torch::Tensor& target) const {
    return logits.argmax(1).eq(target).to(torch::kFloat64).mean();
  }
};

struct Halves {
  std::array<double, 2> weights(const Progress&) const { return {0.5, 0.6}; }
};
struct CountsItsCalls {
  mutable int calls = 0;
  std::array<double, 2> weights(const Progress&) const { return {++calls % 2 ? 1.0 : 0.0, calls % 2 ? 0.0 : 1.0}; }
};
struct NobodyLearns : Always {
  std::array<bool, 1> learns(const Progress&) const { return {false}; }
};
struct Nothing {
  std::array<double, 2> weights(const Progress& now) const { return {now.epoch < 5 ? 1.0 : 0.0, 0}; }
};
struct Infinite {
  std::array<double, 1> weights(const Progress&) const { return {INFINITY}; }
};
struct ThrowsInCheck : CrossEntropy {
  void check(const torch::Tensor&, const torch::Tensor&) const { throw std::logic_error("not written yet"); }
};

}  // namespace

TEST_CASE("the laws of normalizers fail on wrong ones", "[normalizer][law]") {
  const auto alone = "a normalizer works on each sample alone", form = "a normalizer keeps shape and dtype",
             factors = "factors are normalized as the credit is";

  CHECK(verdict_in(testing::check_laws(BatchRms{}), alone) == failed("credit (5, 6) depends on the rest of the batch"));
  CHECK(verdict_in(testing::check_laws(InPlaceRms{}), form) == failed("credit (5, 6) is overwritten"));
  CHECK(verdict_in(testing::check_laws(AlwaysWide{}), form) == failed("credit (5, 6) gets another dtype"));
  CHECK(verdict_in(testing::check_laws(Flattens{}), form) == failed("credit (5, 4, 6) gets another shape"));
  CHECK(verdict_in(testing::check_laws(ForgetsScale{}), factors) == failed("factors of rank 3 are other credit"));
  CHECK(verdict_in(testing::check_laws(BatchRms{}), factors) == not_applicable("the normalizer does not take factors"));
  CHECK_FALSE(testing::check_laws(BatchRms{}).ok());
}

TEST_CASE("the laws of local losses fail on wrong ones", "[loss][law]") {
  CHECK(verdict_in(testing::check_laws(LossOfTheSum{}), "a local loss is a batch mean") ==
        failed("the gradient of f (5, 6) is not of a mean"));
  CHECK(verdict_in(testing::check_laws(LossOfTheSum{}), "multiple_of_credit is the multiple") ==
        failed("the gradient of f (5, 6) is another multiple"));
  CHECK(verdict_in(testing::check_laws(PerSampleLoss{}), "a local loss is a scalar") ==
        failed("the loss is no scalar of f's dtype"));
  CHECK(verdict_in(testing::check_laws(PenaltyWithoutItsGradient{}), "output_gradient is the gradient") ==
        failed("output_gradient is another than autograd's for f (5, 6)"));
  CHECK(verdict_in(testing::check_laws(PerSampleLoss{}), "output_gradient is the gradient") ==
        not_applicable("the loss has no output_gradient"));
}

TEST_CASE("the laws of objectives fail on wrong ones", "[objective][law]") {
  CHECK(verdict_in(testing::check_laws(ErrorOfTheMean{}), "error is the gradient of loss") ==
        failed("error is not the gradient of loss"));
  CHECK(verdict_in(testing::check_laws(ErrorOfTheMean{}), "loss and error are per sample") ==
        failed("error depends on the rest of the batch"));
  const auto numbers = [](const torch::Tensor& logits) { return torch::randn_like(logits); };
  CHECK(verdict_in(testing::check_laws(ChecksNothing{}, numbers), "check refuses what loss cannot take") ==
        failed("check accepts a target that does not fit"));
  CHECK(verdict_in(testing::check_laws(Fraction{}), "correct counts samples").outcome == Verdict::Failed);
}

TEST_CASE("a law in which an objective throws something else has failed, and the others go on", "[objective][law]") {
  const auto labels = [](const torch::Tensor&) { return torch::tensor({0, 1, 2, 1, 0}); };
  const auto report = testing::check_laws(ThrowsInCheck{}, labels);

  CHECK(verdict_in(report, "check refuses what loss cannot take") ==
        failed("an exception: std::logic_error: not written yet"));
  CHECK(verdict_in(report, "error is the gradient of loss") == held());
  CHECK_FALSE(report.ok());
}

TEST_CASE("the laws of schedules fail on wrong ones", "[schedule][law]") {
  CHECK(verdict_in(testing::check_laws(Nothing{}), "weights can be used") ==
        failed("all weights are 0 in epoch 5 of 12, step 21"));
  CHECK(verdict_in(testing::check_laws(Infinite{}), "weights can be used") ==
        failed("a weight is not finite in epoch 0 of 1, step 0"));
  CHECK(verdict_in(testing::check_laws(CountsItsCalls{}), "the same progress gives the same weights") ==
        failed("asked again it has another answer"));
  CHECK(weights_are_shares(Halves{}) == failed("the weights are not 1 together"));
  CHECK(weighted_sources_learn(NobodyLearns{}) == failed("a source with a weight does not learn"));
}
