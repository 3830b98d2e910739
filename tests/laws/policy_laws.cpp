// SPDX-License-Identifier: Apache-2.0
#include "policy_laws.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEMPLATE_LIST_TEST_CASE("a normalizer keeps shape and dtype, works sample by sample, and on factors alike",
                        "[normalizer][law]", Normalizers) {
  const TestType normalizer;

  CHECK(law::normalizer_keeps_the_form(normalizer) == held());
  CHECK(law::normalizer_is_per_sample(normalizer) == held());
  CHECK(law::normalizer_factors_agree(normalizer) == held());
}

TEMPLATE_LIST_TEST_CASE("a local loss is a batch mean whose closed forms are those of autograd", "[loss][law]",
                        LocalLosses) {
  const TestType loss;

  CHECK(law::local_loss_is_a_scalar(loss) == held());
  CHECK(law::local_loss_is_a_batch_mean(loss) == held());
  CHECK(law::output_gradient_is_the_gradient(loss) == held());
  CHECK(law::embed_loss_is_a_local_loss(loss) == held());
  CHECK(law::multiple_of_credit_is_the_multiple(loss) ==
        (std::is_base_of_v<InnerProduct, TestType> ? held() : not_applicable("the loss has no multiple_of_credit")));
}

TEMPLATE_LIST_TEST_CASE("an objective's error is the gradient of its loss, sample by sample", "[objective][law]",
                        Objectives) {
  const TestType objective;

  CHECK(law::error_is_the_gradient_of_loss(objective) == held());
  CHECK(law::objective_is_per_sample(objective) == held());
  CHECK(law::check_refuses_what_does_not_fit(objective) == held());
  CHECK(law::correct_counts(objective) ==
        (std::is_same_v<TestType, CrossEntropy> ? held() : not_applicable("the objective has no correct")));
}

TEMPLATE_LIST_TEST_CASE("a schedule's weights are shares, follow from the progress alone, and go with learning",
                        "[schedule][law]", Schedules) {
  const TestType schedule;
  constexpr bool says_what_learns = std::is_base_of_v<SwitchAt, TestType> || std::is_base_of_v<Warmup, TestType>;

  CHECK(law::weights_are_shares(schedule) == held());
  CHECK(law::schedule_keeps_nothing(schedule) == held());
  CHECK(law::weighted_sources_learn(schedule) ==
        (says_what_learns ? held() : not_applicable("the schedule has no learns")));
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

}  // namespace

TEST_CASE("the laws of normalizers fail on wrong ones", "[normalizer][law]") {
  CHECK(law::normalizer_is_per_sample(BatchRms{}) == failed("credit (5, 6) depends on the rest of the batch"));
  CHECK(law::normalizer_keeps_the_form(InPlaceRms{}) == failed("credit (5, 6) is overwritten"));
  CHECK(law::normalizer_keeps_the_form(AlwaysWide{}) == failed("credit (5, 6) gets another dtype"));
  CHECK(law::normalizer_keeps_the_form(Flattens{}) == failed("credit (5, 4, 6) gets another shape"));
  CHECK(law::normalizer_factors_agree(ForgetsScale{}) == failed("factors of rank 3 are other credit"));
  CHECK(law::normalizer_factors_agree(BatchRms{}) == not_applicable("the normalizer does not take factors"));
}

TEST_CASE("the laws of local losses fail on wrong ones", "[loss][law]") {
  CHECK(law::local_loss_is_a_batch_mean(LossOfTheSum{}) == failed("the gradient of f (5, 6) is not of a mean"));
  CHECK(law::multiple_of_credit_is_the_multiple(LossOfTheSum{}) ==
        failed("the gradient of f (5, 6) is another multiple"));
  CHECK(law::local_loss_is_a_scalar(PerSampleLoss{}) == failed("the loss is no scalar of f's dtype"));
  CHECK(law::output_gradient_is_the_gradient(PenaltyWithoutItsGradient{}) ==
        failed("output_gradient is another than autograd's for f (5, 6)"));
  CHECK(law::output_gradient_is_the_gradient(PerSampleLoss{}) == not_applicable("the loss has no output_gradient"));
}

TEST_CASE("the laws of objectives fail on wrong ones", "[objective][law]") {
  CHECK(law::error_is_the_gradient_of_loss(ErrorOfTheMean{}) == failed("error is not the gradient of loss"));
  CHECK(law::objective_is_per_sample(ErrorOfTheMean{}) == failed("error depends on the rest of the batch"));
  CHECK(law::check_refuses_what_does_not_fit(ChecksNothing{}) == failed("check accepts a target that does not fit"));
  CHECK(law::correct_counts(Fraction{}).outcome == Verdict::Failed);
}

TEST_CASE("the laws of schedules fail on wrong ones", "[schedule][law]") {
  CHECK(law::weights_are_shares(Halves{}) == failed("the weights are not 1 together"));
  CHECK(law::schedule_keeps_nothing(CountsItsCalls{}) == failed("asked again it has another answer"));
  CHECK(law::weighted_sources_learn(NobodyLearns{}) == failed("a source with a weight does not learn"));
}
