// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/grape.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/schedule/anchor.hpp>
#include <type_traits>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"
#include "../trace_of.hpp"
#include "by_hand.hpp"
#include "jacobians.hpp"
#include "learned.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

torch::Tensor column_norms(const torch::Tensor& matrix) { return matrix.norm(2, 0); }

/// The cosine of each column with the other matrix's.
torch::Tensor column_cosines(const torch::Tensor& a, const torch::Tensor& b) {
  return (a * b).sum(0) / (column_norms(a) * column_norms(b));
}

}  // namespace

TEST_CASE("on a frozen network GrAPE's columns turn to those of the Jacobian, closer at each step", "[credit]") {
  auto model = residual_mlp(torch::kFloat64);
  const auto trace = trace_of(model, small_batch(torch::kFloat64));
  auto state = GrAPE{.lr = 1}.bind(model, context(torch::kFloat64));
  const auto jacobians = along_all_directions(model, trace, state.feedback);
  CHECK(distance(jacobians, mean_jacobians(model, trace, state.feedback)) < 1e-12);
  std::vector<torch::Tensor> before;
  for (const auto& B : state.feedback) before.push_back(torch::full({B.size(1)}, -1, torch::kFloat64));

  for (int step = 0; step < 300; ++step) {
    state.learner.turn(state.feedback, jacobians);
    for (std::size_t l = 0; l < before.size(); ++l) {
      const auto cosines = column_cosines(state.feedback[l], jacobians[l]);
      CHECK((cosines - before[l]).min().item<double>() > -1e-15);
      before[l] = cosines;
    }
  }

  for (std::size_t l = 0; l < before.size(); ++l) {
    CHECK(before[l].min().item<double>() > 1 - 1e-9);
    CHECK(distance(column_norms(state.feedback[l]), torch::ones({small_classes}, torch::kFloat64)) < 1e-14);
  }
}

TEST_CASE("GrAPE's turn is a step down 1 minus the mean cosine of columns", "[credit]") {
  const double lr = 0.7;
  const torch::AutoGradMode grad(true);
  torch::manual_seed(4);
  auto B = torch::randn({6, 3}, torch::kFloat64);
  B = (B / column_norms(B)).requires_grad_();
  const auto estimate = torch::randn({6, 3}, torch::kFloat64);
  const auto loss = 1 - column_cosines(B, estimate).mean();
  const auto stepped = B.detach() - lr * torch::autograd::grad({loss}, {B})[0];

  const auto turned = B.detach().clone();
  GrAPE::Learner{.lr = lr}
      .bind({}, context(torch::kFloat64))
      .turn({turned, torch::Tensor()}, {estimate, torch::Tensor()});
  CHECK(distance(turned, stepped / column_norms(stepped)) < 1e-14);

  const auto alone = B.detach().clone();
  GrAPE::Learner{.lr = lr}.bind({}, context(torch::kFloat64)).turn({alone}, {torch::zeros({6, 3}, torch::kFloat64)});
  CHECK(distance(alone, B.detach()) < 1e-15);  // nothing to turn to
}

TEST_CASE("at lr 0 GrAPE is DFA with columns of norm 1, to the bit", "[credit]") {
  const auto kind = GENERATE(Kind::plain, Kind::conv);
  auto one = stages(kind), other = stages(kind);
  LocalTrainer fixed(other, GrAPE{.lr = 0});
  const auto columns = copies(fixed.state().feedback);
  LocalTrainer dfa(one, DFA{.feedback = columns}, {}, Raw{});
  for (const auto& B : columns) CHECK(distance(column_norms(B), torch::ones({small_classes})) < 1e-6);
  for (std::uint64_t step = 0; step < 4; ++step) {
    const auto [x, y] = batch_for(kind, torch::kFloat32, 7, step);
    dfa.step(x, y);
    fixed.step(x, y);
  }
  CHECK(same(copies(one->parameters()), copies(other->parameters())));
  CHECK(same(copies(fixed.state().feedback), columns));
}

TEST_CASE("GrAPE with an anchor at every epoch's one batch is back-propagation", "[credit]") {
  auto model = small_model(torch::kFloat64), other = small_model(torch::kFloat64);
  const auto [x, y] = small_batch(torch::kFloat64);
  LocalTrainer anchored(model, Mix{GrAPE{}, Oracle{}}, {}, Anchor{}, Raw{});
  BackpropTrainer back(other);
  const auto columns = copies(anchored.state().first.feedback);
  for (int epoch = 0; epoch < 3; ++epoch) {
    CHECK(distance(anchored.credits(x, y), back.credits(x, y)) < 1e-12);
    anchored.step(x, y);
    anchored.end_epoch();
    back.step(x, y);
    back.end_epoch();
  }
  CHECK(distance(copies(model->parameters()), copies(other->parameters())) < 1e-12);
  CHECK(same(copies(anchored.state().first.feedback), columns));  // it learns in its own steps
  anchored.step(x, y);
  anchored.step(x, y);
  CHECK_FALSE(same(copies(anchored.state().first.feedback), columns));
}

TEST_CASE("GrAPE comes to follow the gradients of a frozen network from single directions", "[credit]") {
  auto& task = frozen_task();
  auto state = GrAPE{}.bind(task.model, context());
  const double untrained = mean_gamma(state, task);

  learn_frozen(state, task, 400);

  const double trained = mean_gamma(state, task);
  CAPTURE(untrained, trained);
  CHECK(untrained < 0.3);
  CHECK(trained > 0.7);
}

TEST_CASE("explicit columns of GrAPE are divided by their norms, and its options checked", "[credit]") {
  auto model = small_model();
  torch::manual_seed(3);
  std::vector<torch::Tensor> given;
  for (int l = 0; l < 4; ++l) given.push_back(5 * torch::randn({5, small_classes}));
  given[2].select(1, 1).zero_();
  LocalTrainer trainer(model, GrAPE{.feedback = given});
  for (std::size_t l = 0; l < given.size(); ++l) {
    const auto norms = column_norms(given[l]);
    CHECK(distance(trainer.state().feedback[l], given[l] / torch::where(norms > 0, norms, 1)) < 1e-6);
  }
  const auto message = [&](const GrAPE& rule) { return error_of([&] { LocalTrainer(model, rule); }); };

  CHECK(says(message({.lr = -1}), {"GrAPE: lr is -1, expected a finite number >= 0."}));
  CHECK(says(message({.feedback = {given[0]}}), {"GrAPE: 1 feedback matrices were given"}));
  static_assert(!GrAPE::State::wants_pullback && GrAPE::State::wants_pushforward);
  static_assert(std::is_same_v<NaturalNormalizer<GrAPE>, Raw>);
}
