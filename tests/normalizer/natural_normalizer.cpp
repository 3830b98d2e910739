// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/equilibrium_propagation.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/normalizer/natural_normalizer.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <type_traits>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// DFA, defined with Raw.
struct UnnormalizedDFA : DFA {
  using Normalizer = Raw;
};

/// A normalizer of a user's own that a rule names.
struct Halved {
  torch::Tensor operator()(const torch::Tensor& a) const { return a / 2; }
};
struct HalvedDFA : DFA {
  using Normalizer = Halved;
};

template <class Trainer, class Credit, class Schedule, class Normalizer>
constexpr bool is_trainer = std::is_same_v<Trainer, LocalTrainer<ResidualMLP, Credit, Schedule, Normalizer>>;

}  // namespace

static_assert(std::is_same_v<NaturalNormalizer<DFA>, RowRms>);
static_assert(std::is_same_v<NaturalNormalizer<UnnormalizedDFA>, Raw>);
static_assert(std::is_same_v<NaturalNormalizer<HalvedDFA>, Halved>);
static_assert(std::is_same_v<NaturalNormalizer<EquilibriumPropagation>, Raw>);
static_assert(std::is_same_v<NaturalNormalizer<Mix<UnnormalizedDFA, EquilibriumPropagation>>, RowRms>);

TEST_CASE("a trainer without a normalizer has the rule's own", "[normalizer][trainer]") {
  const auto [x, y] = small_batch();
  LocalTrainer alone(small_model(), HalvedDFA{});
  LocalTrainer among_policies(small_model(), HalvedDFA{}, {}, PenalizedInnerProduct{.lambda = 0.1});
  LocalTrainer in_place(small_model(), HalvedDFA{}, {}, {}, {}, PenalizedInnerProduct{.lambda = 0.1});
  LocalTrainer given(small_model(), HalvedDFA{}, {}, Raw{});
  LocalTrainer<ResidualMLP, HalvedDFA> named(small_model());

  STATIC_REQUIRE(is_trainer<decltype(alone), HalvedDFA, Always, Halved>);
  STATIC_REQUIRE(is_trainer<decltype(given), HalvedDFA, Always, Raw>);
  STATIC_REQUIRE(std::is_same_v<decltype(named), decltype(alone)>);
  STATIC_REQUIRE(std::is_same_v<decltype(among_policies), decltype(in_place)>);
  const auto raw = given.credits(x, y);
  CHECK(same(given.raw_credits(x, y), raw));
  for (const auto& credits : {alone.credits(x, y), among_policies.credits(x, y), in_place.credits(x, y)}) {
    for (std::size_t l = 0; l < raw.size(); ++l) CHECK(torch::equal(credits[l] * 2, raw[l]));
  }
}

TEST_CASE("a Mix has RowRms, whatever its sources name: one scale before and after a switch", "[normalizer][mix]") {
  const auto [x, y] = small_batch(torch::kFloat64);
  LocalTrainer trainer(small_model(torch::kFloat64), Mix{UnnormalizedDFA{}, HalvedDFA{}}, {}, SwitchAt{.epoch = 1});
  STATIC_REQUIRE(is_trainer<decltype(trainer), Mix<UnnormalizedDFA, HalvedDFA>, SwitchAt, RowRms>);

  for (int epoch = 0; epoch < 2; ++epoch) {
    for (const auto& a : trainer.credits(x, y)) {
      CHECK(distance(a.square().mean(1), torch::ones({x.size(0)}, torch::kFloat64)) < 1e-3);
    }
    trainer.end_epoch();
  }
}
