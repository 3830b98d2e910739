// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/diagnostics/feedback_null.hpp>
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
using diagnostics::Measured;

TEST_CASE("the fresh-feedback null has the mean, deviation, score and rank of its draws", "[diagnostics]") {
  std::vector<std::uint64_t> seeds;
  const auto fresh = [&](std::uint64_t seed) -> std::vector<Measured> {
    seeds.push_back(seed);
    const double i = static_cast<double>(seed - 100);
    return {
        {.value = i}, seed % 2 ? Measured{.reason = "odd"} : Measured{.value = 1}, {.reason = "never"}, {.value = i}};
  };

  const auto found = diagnostics::feedback_null({{.value = 3}, {.value = 1}, {.value = 1}, {.reason = "none"}}, fresh,
                                                {.draws = 5, .seed = 100});

  CHECK(seeds == std::vector<std::uint64_t>{100, 101, 102, 103, 104});
  CHECK(found[0].draws == std::vector<double>{0, 1, 2, 3, 4});
  CHECK(*found[0].own.value == 3);
  CHECK(*found[0].mean.value == Approx(2));
  CHECK(*found[0].deviation.value == Approx(std::sqrt(2.5)));
  CHECK(*found[0].score.value == Approx(1 / std::sqrt(2.5)));
  CHECK(*found[0].p.value == Approx(3. / 6));
  CHECK(found[1].draws.size() == 3);
  CHECK(found[1].score.reason == "the draws do not differ");
  CHECK(*found[1].p.value == 1);
  CHECK(found[2].p.reason == "no draw has a value");
  CHECK(*found[3].mean.value == Approx(2));
  CHECK(found[3].p.reason == "none");
  CHECK(says(error_of([&] { diagnostics::feedback_null({}, fresh); }), {"4 figures", "expected 0"}));
  CHECK(says(error_of([&] { diagnostics::feedback_null({}, fresh, {.draws = 0}); }), {"draws is 0"}));
}

TEST_CASE("at init a DFA's alignment lies within the null of fresh feedback, the oracle's above it", "[diagnostics]") {
  torch::manual_seed(5);
  auto model = ResidualMLP({.input = 20, .width = 40, .classes = 4, .blocks = 2});
  const auto x = torch::randn({32, 20}), y = torch::randint(4, {32});
  const auto gradients = diagnostics::true_gradients(model, x, y);
  const auto credits = [&](std::uint64_t seed) {
    return LocalTrainer(model, DFA{}, {.seed = static_cast<std::int64_t>(seed)}).raw_credits(x, y);
  };

  const auto of_dfa = diagnostics::feedback_null_alignment(credits(1), gradients, credits);
  const auto of_oracle = diagnostics::feedback_null_alignment(gradients, gradients, credits);

  REQUIRE(of_dfa.size() == 3);
  for (std::size_t l = 0; l < 3; ++l) {
    CHECK(of_dfa[l].draws.size() == 20);
    CHECK(std::abs(*of_dfa[l].score.value) < 4);
    CHECK(*of_oracle[l].p.value == Approx(1. / 21));
    CHECK(*of_oracle[l].score.value > 4);
  }
}
