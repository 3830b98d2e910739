// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/normalizer/raw.hpp>

#include "../models.hpp"
#include "../sources.hpp"
#include "../test.hpp"
#include "gradients.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// InnerProduct and the penalty without their closed forms.
struct OnGraph {
  double lambda = 0;
  torch::Tensor operator()(const torch::Tensor& f, const torch::Tensor& a) const {
    return ((f * a).flatten(1).sum(1) + lambda * f.square().flatten(1).sum(1)).mean();
  }
};
struct NotScalar {
  torch::Tensor operator()(const torch::Tensor& f, const torch::Tensor& a) const { return f * a; }
};

}  // namespace

TEST_CASE("credit that is all zero gives embed and blocks gradients of exactly zero", "[trainer]") {
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    auto model = stages(kind);
    const auto batch = batch_for(kind);
    LocalTrainer trainer(model, FixedCredit{arbitrary_credits(model, batch, 0)});
    LocalTrainer other(model, FixedCredit{arbitrary_credits(model, batch, 1e-3)});

    trainer.step(batch.x, batch.y);

    for (const auto& gradient : gradients_of_parts(model->embed_parameters()))
      CHECK(gradient.abs().max().item<double>() == 0);
    for (std::int64_t l = 0; l < model->blocks(); ++l) {
      for (const auto& gradient : gradients_of_parts(model->block_parameters(l)))
        CHECK(gradient.abs().max().item<double>() == 0);
    }
    for (const auto& gradient : gradients_of_parts(model->readout_parameters()))
      CHECK(gradient.abs().max().item<double>() > 0);

    other.step(batch.x, batch.y);
    for (const auto& parameter : model->parameters()) CHECK(parameter.grad().abs().max().item<double>() > 0);
  }
}

TEST_CASE("arbitrary credit gives each block its own vector-Jacobian product", "[trainer]") {
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64);
    const auto batch = batch_for(kind, torch::kFloat64);
    const auto credits = arbitrary_credits(model, batch);
    LocalTrainer trainer(model, Captured<FixedCredit>{{credits}}, {}, {}, Raw{});
    torch::manual_seed(3);
    trainer.step(batch.x, batch.y);
    auto used = copies(gradients_of(*model));
    // Each stage alone, at the hidden states that the step had, on the weights that it had.
    auto again = stages(kind, torch::kFloat64);
    const auto& hidden = trainer.state().traces->at(0).hidden;
    torch::manual_seed(3);
    const auto alone = [&](const torch::Tensor& output, const std::vector<torch::Tensor>& parameters,
                           const torch::Tensor& along) {
      return torch::autograd::grad({output}, parameters, {along}, false, false, true);
    };

    std::vector<torch::Tensor> expected;
    const auto append = [&](const std::vector<torch::Tensor>& gradients) {
      expected.insert(expected.end(), gradients.begin(), gradients.end());
    };
    const auto embedded = again->embed(batch.x);
    if (embedded.requires_grad()) append(alone(embedded, again->embed_parameters(), credits[0] / 7));
    for (std::int64_t l = 0; l < again->blocks(); ++l) {
      const auto at = static_cast<std::size_t>(l);
      append(alone(again->block(l, hidden[at]), again->block_parameters(l), credits[at + 1] / 7));
    }
    const auto logits = again->readout(hidden.back());
    append(alone(logits, again->readout_parameters(), plain_error(logits, batch.y) / 7));

    CHECK(distance(used, expected) < 1e-12);
  }
}

TEST_CASE("a block's gradient has nothing to do with the parameters beyond it", "[trainer]") {
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    auto model = stages(kind);
    const auto batch = batch_for(kind);
    LocalTrainer trainer(model, FixedCredit{arbitrary_credits(model, batch)});
    torch::manual_seed(3);
    const auto before = trainer.gradients(batch.x, batch.y);
    const torch::NoGradGuard no_grad;
    for (std::int64_t l = 1; l < model->blocks(); ++l) {
      for (auto parameter : model->block_parameters(l)) parameter.normal_();
    }
    for (auto parameter : model->readout_parameters()) parameter.normal_();

    torch::manual_seed(3);
    const auto after = trainer.gradients(batch.x, batch.y);

    const auto own = model->embed_parameters().size() + model->block_parameters(0).size();
    for (std::size_t i = 0; i < own; ++i) CHECK(torch::equal(before[i], after[i]));
    for (std::size_t i = own; i < after.size(); ++i) CHECK_FALSE(torch::equal(before[i], after[i]));
  }
}

TEST_CASE("a local loss without a closed form trains as one with it", "[trainer]") {
  for (const auto kind : {Kind::plain, Kind::conv, Kind::tokens}) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64);
    const auto batch = batch_for(kind, torch::kFloat64);
    LocalTrainer closed(model, DFA{});
    LocalTrainer graph(model, DFA{}, {}, {}, {}, OnGraph{});
    LocalTrainer penalised(model, DFA{}, {}, {}, {}, PenalizedInnerProduct{.lambda = 0.2});
    LocalTrainer own(model, DFA{}, {}, {}, {}, OnGraph{.lambda = 0.2});

    CHECK(distance(closed.gradients(batch.x, batch.y), graph.gradients(batch.x, batch.y)) < 1e-12);
    CHECK(distance(penalised.gradients(batch.x, batch.y), own.gradients(batch.x, batch.y)) < 1e-12);
    CHECK(distance(closed.gradients(batch.x, batch.y), penalised.gradients(batch.x, batch.y)) > 1e-3);
  }
  LocalTrainer trainer(small_model(), DFA{}, {}, {}, {}, NotScalar{});
  CHECK(says(error_of([&] { trainer.step(small_batch().x, small_batch().y); }), {"local loss", "(7, 5)", "scalar"}));
}

TEST_CASE("the embed's loss has the local loss's reduction, and no penalty", "[trainer]") {
  auto model = stages(Kind::conv, torch::kFloat64);
  const auto batch = batch_for(Kind::conv, torch::kFloat64);
  LocalTrainer sum(model, DFA{});
  LocalTrainer mean(model, DFA{}, {}, {}, {}, InnerProduct{.mean_over_positions = true});
  LocalTrainer penalised(model, DFA{}, {}, {}, {}, PenalizedInnerProduct{.lambda = 9});

  const auto a = sum.gradients(batch.x, batch.y), b = mean.gradients(batch.x, batch.y),
             c = penalised.gradients(batch.x, batch.y);

  const auto last_block = model->embed_parameters().size() + model->block_parameters(0).size();
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(distance(a[i], 36 * b[i]) < 1e-12);
    CHECK(distance(a[i], c[i]) < 1e-12);
  }
  CHECK(distance(a[last_block], 9 * b[last_block]) < 1e-12);
  CHECK(distance(a.back(), b.back()) < 1e-12);
}
