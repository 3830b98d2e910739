#include <creditlib/credit/factored_credit.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/normalizer/row_rms.hpp>

#include "models.hpp"
#include "test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("a normalizer gives factors the same numbers as the credit that they are", "[normalizer]") {
  const auto [features, rank] = GENERATE(std::pair{40, 3}, std::pair{4, 20});
  torch::manual_seed(2);
  const FactoredCredit a{torch::randn({7, rank}, torch::kFloat64), torch::randn({features, rank}, torch::kFloat64)};

  CHECK(distance(RowRms{}.factored(a).dense(), RowRms{}(a.dense())) < 1e-12);
  CHECK(distance(RowRms{.eps = 0.3}.factored(a).dense(), RowRms{.eps = 0.3}(a.dense())) < 1e-12);
  CHECK(distance(Raw{}.factored(a).dense(), a.dense()) == 0);
}

TEST_CASE("factors whose product is 0 but for rounding stay finite under RowRms", "[normalizer]") {
  const auto left = torch::tensor({{1.0f, -1.0f, 3.0f}, {0.0f, 0.0f, 0.0f}});
  const auto right = torch::tensor({{1e4f, 1e4f, 1e-7f}, {-3e3f, -3e3f, 2e-7f}});

  const auto unit = RowRms{}.factored({left, right});

  CHECK(unit.left.isfinite().all().item<bool>());
  CHECK(unit.left[1].abs().max().item<float>() == 0);
}
