// SPDX-License-Identifier: Apache-2.0
#include "../rules.hpp"
#include "../test.hpp"
#include "mutated.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Scales by the slope of something that only grad mode records.
struct NeedsGradMode {
  static Credits apply(Credits credits, auto& model, const Trace& trace, const torch::Tensor&) {
    const bool recorded = model->readout(trace.hidden.back()).requires_grad();
    for (auto& a : credits) a = recorded ? 2 * a : a;
    return credits;
  }
};

/// Divides by the batch, as the gradient of a mean loss is.
struct OfTheMean {
  static Credits apply(Credits credits, auto&, const Trace& trace, const torch::Tensor&) {
    for (auto& a : credits) a = a / trace.target.size(0);
    return credits;
  }
};

/// Depends on the other samples.
struct CentersTheBatch {
  static Credits apply(Credits credits, auto&, const Trace&, const torch::Tensor&) {
    for (auto& a : credits) a = a - a.mean(0, true);
    return credits;
  }
};

/// Gives credit that is still on a graph.
struct Attached {
  static Credits apply(Credits credits, auto& model, const Trace&, const torch::Tensor&) {
    const torch::AutoGradMode grad(true);
    for (auto& a : credits) a = a + 0 * model->block_parameters(0)[0].sum();
    return credits;
  }
};

}  // namespace

TEST_CASE("the law of grad mode fails on a rule that depends on it", "[credit][law]") {
  CHECK(verdict<Faulty<NeedsGradMode>>("grad mode changes no credit") == failed("with grad mode on credit is another"));
}

TEST_CASE("the law of credit alone fails on a rule that counts, runs the network, changes it or draws",
          "[credit][law]") {
  const auto law = "credit alone changes nothing";

  CHECK(verdict<Faulty<Counts>>(law) == failed("credit.counter differs"));
  CHECK(verdict<Faulty<ChangesWeights>>(law) == failed("model.blocks.0.0.bias differs"));
  CHECK(verdict<Faulty<RunsAgain>>(law, Kind::batch_norm).outcome == Verdict::Failed);
  CHECK(verdict<Faulty<DrawsAtCall>>(law) == failed("global generator differs"));
}

TEST_CASE("the law of samples fails on a rule that divides by the batch, or looks across it", "[credit][law]") {
  CHECK(verdict<Faulty<OfTheMean>>("credit is per sample") == failed("credit 0 depends on the rest of the batch"));
  CHECK(verdict<Faulty<CentersTheBatch>>("credit is per sample") ==
        failed("credit 0 depends on the rest of the batch"));
}

TEST_CASE("a rule that looks across the batch on purpose breaks no law", "[credit][law]") {
  const auto report = testing::check_laws(Faulty<CentersTheBatch>{}, {stages_case(Kind::plain)}, {.per_sample = false});

  CHECK(report.ok());
  CHECK(verdict_in(report, "credit is per sample", "plain") == not_applicable("LawOptions::per_sample is false"));
}

TEST_CASE("the law of detached credit fails on a rule that leaves it on a graph; a trainer cuts it off",
          "[credit][law]") {
  CHECK(says(verdict<Faulty<Attached>>("credit is detached").what, {"credit 0 is attached"}));
  CHECK(verdict<Faulty<Attached>>("credit fits the output") == held());
  CHECK(verdict<Faulty<Attached>>("credits() is what a step uses") == held());
  CHECK(broken(report_on<Faulty<Attached>>(Kind::plain)) == std::vector<std::string>{"credit is detached"});
}
