// SPDX-License-Identifier: Apache-2.0
#include <creditlib/normalizer/row_rms.hpp>

#include "../hidden_shapes.hpp"
#include "../models.hpp"
#include "../sources.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("RowRms divides each sample by its own root mean square over all other dimensions", "[normalizer]") {
  torch::manual_seed(1);
  for (const auto& shape : state_shapes) {
    std::vector<std::int64_t> per_sample(shape.size(), 1);
    per_sample[0] = 5;
    const auto a =
        torch::randn(shape, torch::kFloat64) * torch::logspace(-3, 3, 5, 10.0, torch::kFloat64).view(per_sample);
    const auto before = a.clone();

    const auto unit = RowRms{.eps = 0.01}(a);

    CHECK(distance(unit, plain_unit_rms(a, 0.01)) < 1e-14);
    CHECK(unit.sizes() == a.sizes());
    CHECK(torch::equal(a, before));
    CHECK(distance(RowRms{}(a).square().flatten(1).mean(1), torch::ones({5}, torch::kFloat64)) < 1e-2);
  }
}

TEST_CASE("RowRms leaves zero credit at zero, and credit far below eps is scaled by 1/eps", "[normalizer]") {
  CHECK(RowRms{}(torch::zeros({3, 4})).abs().max().item<double>() == 0);
  const auto tiny = torch::full({2, 4}, 1e-12, torch::kFloat64);
  CHECK(distance(RowRms{}(tiny), tiny * 1e6) < 1e-5);
  CHECK(RowRms{}.eps == 1e-6);
}
