// SPDX-License-Identifier: Apache-2.0
#include <creditlib/factored_credit.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/normalizer/row_rms.hpp>
#include <limits>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("a normalizer gives factors the same numbers as the credit that they are", "[normalizer]") {
  const auto [features, rank] = GENERATE(std::pair{40, 3}, std::pair{4, 20});
  torch::manual_seed(2);
  const FactoredCredit a{torch::randn({7, rank}, torch::kFloat64), torch::randn({features, rank}, torch::kFloat64)};

  CHECK(distance(RowRms{}.factored(a).dense(), RowRms{}(a.dense())) < 1e-12);
  CHECK(distance(RowRms{.eps = 0.3}.factored(a).dense(), RowRms{.eps = 0.3}(a.dense())) < 1e-12);
  CHECK(distance(Raw{}.factored(a).dense(), a.dense()) == 0);

  const auto scaled = a.scaled(torch::tensor({{2.0}, {-3.0}, {0.5}, {0.0}, {1e-3}, {7.0}, {-0.1}}, torch::kFloat64));
  CHECK(distance(RowRms{.eps = 0.3}.factored(scaled).dense(), RowRms{.eps = 0.3}(scaled.dense())) < 1e-12);
  CHECK(distance(scaled.scaled(-2).dense(), scaled.dense() * -2) < 1e-12);
  CHECK(distance(a.scaled(-2).dense(), a.dense() * -2) < 1e-12);
}

TEST_CASE("float32 factors of any rank have the row norms of their product", "[normalizer]") {
  const auto rank = GENERATE(1, 10, 16, 17, 64, 65, 100);
  torch::manual_seed(2);
  const FactoredCredit exact{torch::randn({7, rank}, torch::kFloat64), torch::randn({40, rank}, torch::kFloat64)};
  const auto unit = RowRms{}(exact.dense());

  const FactoredCredit a{exact.left.to(torch::kFloat32), exact.right.to(torch::kFloat32)};
  CHECK(distance(RowRms{}.factored(a).dense().to(torch::kFloat64), unit) < 1e-5);

  // Samples that are scaled, as by a source of one's own.
  const auto scale = torch::randn({7, 1});
  for (const double eps : {1e-6, 0.3}) {
    const auto scaled = RowRms{.eps = eps}(exact.scaled(scale.to(torch::kFloat64)).dense());
    CHECK(distance(RowRms{.eps = eps}.factored(a.scaled(scale)).dense().to(torch::kFloat64), scaled) < 1e-5);
  }

  // Factors that are not one row after the other in memory.
  const FactoredCredit turned{a.left.t().contiguous().t(), a.right.t().contiguous().t()};
  CHECK(distance(RowRms{}.factored(turned).dense().to(torch::kFloat64), unit) < 1e-5);

  const FactoredCredit broken{a.left.clone().fill_(std::numeric_limits<float>::quiet_NaN()), a.right};
  CHECK(RowRms{}.factored(broken).dense().isnan().all().item<bool>());
}

TEST_CASE("factors whose product is 0 but for rounding stay finite under RowRms", "[normalizer]") {
  const auto left = torch::tensor({{1.0f, -1.0f, 3.0f}, {0.0f, 0.0f, 0.0f}});
  const auto right = torch::tensor({{1e4f, 1e4f, 1e-7f}, {-3e3f, -3e3f, 2e-7f}});

  const auto unit = RowRms{}.factored({left, right});

  CHECK(unit.dense().isfinite().all().item<bool>());
  CHECK(unit.dense()[1].abs().max().item<float>() == 0);
}
