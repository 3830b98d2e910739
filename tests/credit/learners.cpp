// SPDX-License-Identifier: Apache-2.0
#include "learners.hpp"

#include "../sources.hpp"
#include "../trace_of.hpp"
#include "by_hand.hpp"
#include "learned.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Other numbers into these parameters.
void change(const std::vector<torch::Tensor>& parameters) {
  const torch::NoGradGuard no_grad;
  for (const auto& parameter : parameters) torch::Tensor(parameter).normal_();
}

/// Other numbers into all but the readout.
template <class Model>
void change_blocks(Model& model) {
  change(model->embed_parameters());
  for (std::int64_t l = 0; l < model->blocks(); ++l) change(model->block_parameters(l));
}

/// A trace with hidden states and error alone.
Trace bare(const Trace& trace) {
  Trace made;
  made.hidden = trace.hidden;
  made.error = trace.error;
  return made;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("a learner follows the gradient of a frozen network better than before it learned",
                        "[credit][learner]", Learners) {
  auto& task = frozen_task();
  auto state = TestType::thorough.bind(task.model, context());
  const double untrained = mean_gamma(state, task);

  learn_frozen(state, task, TestType::steps / 2);

  const double trained = mean_gamma(state, task);
  CAPTURE(untrained, trained);
  CHECK(trained > untrained + 0.15);
}

TEMPLATE_LIST_TEST_CASE(
    "a learner learns the gradient of a frozen network: better than untrained and than with errors shuffled",
    "[credit][learner][statistical]", Learners) {
  auto& task = frozen_task();
  const auto untrained = TestType::thorough.bind(task.model, context());
  auto trained = TestType::thorough.bind(task.model, context());

  learn_frozen(trained, task, TestType::steps);

  const auto found = follows(trained, untrained, task);
  INFO(text(found));
  for (const auto& f : found) {
    CHECK(f.largest_p() < 0.001);
    CHECK(f.gamma > TestType::floor.gamma);
    CHECK(f.rho > TestType::floor.rho);
  }
  if (std::is_same_v<TestType, LearnsMatchedValueNet>) CHECK(found.back().gamma > 0.9);
}

TEMPLATE_LIST_TEST_CASE("a learner is no good for another network until it learns that",
                        "[credit][learner][statistical]", Learners) {
  const auto moved = moved_to_another_network(TestType::thorough, TestType::steps_on_another);

  CAPTURE(moved.first, moved.off, moved.on);
  CHECK(TestType::moved_as_it_must(moved.first, moved.off, moved.on));
}

TEMPLATE_LIST_TEST_CASE("a learner that the schedule does not let learn keeps its credit", "[credit][learner]",
                        Learners) {
  CHECK(without_learning_nothing_moves(TestType::tiny) == "");
}

TEMPLATE_LIST_TEST_CASE("a learner's credit has the shape of the hidden state, and is on no graph", "[credit][learner]",
                        Learners) {
  for (const auto kind : {Kind::batch_norm, Kind::dropout, Kind::conv, Kind::tokens, Kind::no_embed}) {
    INFO("on " << name(kind));
    auto model = stages(kind);
    auto state = TestType::tiny.bind(model, context());
    const auto trace = trace_of(model, batch_for(kind));

    const auto credits = state.credit(model, trace);

    REQUIRE(credits.size() == trace.hidden.size());
    for (std::size_t l = 0; l < credits.size(); ++l) {
      const bool wanted = l > 0 || kind != Kind::no_embed;
      REQUIRE(credits[l].defined() == wanted);
      if (!wanted) continue;
      CHECK(credits[l].sizes() == trace.hidden[l].sizes());
      CHECK_FALSE(credits[l].requires_grad());
    }
  }
}

TEMPLATE_LIST_TEST_CASE("a learner learns by the gradients of its losses, clipped to its norm", "[credit][learner]",
                        Learners) {
  constexpr auto kind = TestType::clipped_on;
  auto rule = TestType::tiny;
  rule.lr = 0;
  rule.clip = std::nullopt;
  const auto batch = batch_for(kind, torch::kFloat64);
  auto model = stages(kind, torch::kFloat64);
  CHECK(learns_down_its_losses(rule, model, batch) == "");

  const auto norms_with = [&](std::optional<double> clip) {
    rule.clip = clip;
    auto state = rule.bind(model, context(torch::kFloat64));
    state.learn(model, trace_of(model, batch));
    return gradient_norms(state);
  };
  const auto free = norms_with(std::nullopt);
  const auto [least, most] = std::minmax_element(free.begin(), free.end());
  for (const double bound : {*least / 10, (*least + *most) / 2, *most * 10}) {
    const auto clipped = norms_with(bound);
    for (std::size_t i = 0; i < free.size(); ++i) CHECK(clipped[i] == Approx(std::min(free[i], bound)).epsilon(1e-4));
  }
}

TEMPLATE_LIST_TEST_CASE("a learner's credit reads no block, and the readout if that is how it is made",
                        "[credit][learner]", Learners) {
  auto model = residual_mlp();
  const auto trace = trace_of(model, small_batch());
  auto state = TestType::tiny.bind(model, context());
  state.learn(model, trace);
  const auto before = state.credit(model, trace);

  change_blocks(model);
  CHECK(same(before, state.credit(model, trace)));

  change(model->readout_parameters());
  const auto after = state.credit(model, trace);
  if (TestType::credit_reads_readout) {
    for (std::size_t l = 0; l < after.size(); ++l) CHECK(distance(before[l], after[l]) > 0.1);
  } else {
    CHECK(same(before, after));
  }
  if (!TestType::credit_reads_target) CHECK(same(after, state.credit(model, bare(trace))));
}

TEMPLATE_LIST_TEST_CASE("a learner's learning reads blocks, readout and target only if that is how it learns",
                        "[credit][learner]", Learners) {
  auto model = residual_mlp();
  const auto trace = trace_of(model, small_batch());
  const auto learned = [&](const Trace& seen) {
    auto state = TestType::tiny.bind(model, context());
    state.learn(model, seen);
    return kept(state);
  };
  const auto before = learned(trace);

  change_blocks(model);
  CHECK(same(before, learned(trace)) == !TestType::learning_reads_blocks);
  if (!TestType::learning_reads_readout) {
    change(model->readout_parameters());
    CHECK(same(before, learned(TestType::learning_reads_target ? trace : bare(trace))));
  }
}

TEMPLATE_LIST_TEST_CASE("a learner says what is wrong with its options when it is bound", "[credit][learner]",
                        Learners) {
  for (const auto& [rule, parts, kind] : TestType::refused()) {
    const auto message = error_of([&] {
      auto model = stages(kind);
      rule.bind(model, context());
    });

    CAPTURE(message);
    if (parts.empty()) CHECK(message == "(nothing was thrown)");
    for (const auto& part : parts) CHECK(says(message, {part}));
  }
}
