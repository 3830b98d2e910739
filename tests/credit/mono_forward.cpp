// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/mono_forward.hpp>

#include "../sources.hpp"
#include "../trace_of.hpp"
#include "by_hand.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("MonoForward's credit is the goodness' error through its matrix", "[credit][mono_forward]") {
  auto model = stages(Kind::plain, torch::kFloat64);
  const auto trace = trace_of(model, batch_for(Kind::plain, torch::kFloat64));
  auto state = MonoForward{.lr = 0}.bind(model, context(torch::kFloat64));

  const auto credits = state.credit(model, trace);
  state.learn(model, trace);

  for (std::size_t l = 0; l < credits.size(); ++l) {
    const auto M = state.nets[l]->weight.detach();
    CHECK(M.sizes() == torch::IntArrayRef({small_classes, trace.hidden[l].size(1)}));
    const auto error = plain_error(times_transposed(trace.hidden[l], M), trace.target);
    CHECK(distance(credits[l], error.mm(M)) < 1e-12);
    CHECK(distance(state.nets[l]->weight.grad(), error.t().mm(trace.hidden[l]) / 7) < 1e-12);
  }
}

TEST_CASE("MonoForward draws its matrices from N(0, 2/d)", "[credit][mono_forward]") {
  torch::manual_seed(1);
  SequentialBlocks model({.blocks = {torch::nn::Sequential(torch::nn::Linear(4, 500))},
                          .readout = torch::nn::Sequential(torch::nn::Linear(500, 100)),
                          .example = torch::zeros({1, 4})});
  const auto M = MonoForward{}.bind(model, context()).nets[0]->weight;
  CHECK(M.sizes() == torch::IntArrayRef({100, 500}));
  CHECK(M.std().item<double>() == Approx(std::sqrt(2.0 / 500)).epsilon(0.02));
  CHECK(std::abs(M.mean().item<double>()) < 0.001);
}

TEST_CASE("MonoForward refuses options that make no sense", "[credit][mono_forward]") {
  const auto made = [&](const MonoForward& rule) { return error_of([&] { LocalTrainer(stages(Kind::plain), rule); }); };
  CHECK(says(made({.lr = -1}), {"MonoForward: lr is -1"}));
  CHECK(says(made({.weight_decay = -1}), {"MonoForward: weight_decay is -1"}));
  CHECK(says(made({.pooled = 0}), {"MonoForward: pooled is 0"}));
}
