// SPDX-License-Identifier: Apache-2.0
#include <creditlib/normalizer/row_rms.hpp>
#include <limits>

#include "../hidden_shapes.hpp"
#include "../models.hpp"
#include "../sources.hpp"
#include "../test.hpp"
#include "../threads.hpp"

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

TEST_CASE("in float32 RowRms is that of float64 to rounding, at every size and scale", "[normalizer]") {
  const auto shape = GENERATE(std::vector<std::int64_t>{40, 1}, std::vector<std::int64_t>{40, 15},
                              std::vector<std::int64_t>{40, 256}, std::vector<std::int64_t>{40, 3, 7},
                              std::vector<std::int64_t>{40, 3, 37, 41}, std::vector<std::int64_t>{40, 100000});
  torch::manual_seed(3);
  std::vector<std::int64_t> per_sample(shape.size(), 1);
  per_sample[0] = 40;
  const auto scales = torch::logspace(-15, 16, 40).to(torch::kFloat32).view(per_sample);
  const auto a = torch::randn(shape) * scales;
  for (const double eps : {0.0, 1e-6, 0.3}) {
    const auto exact = RowRms{.eps = eps}(a.to(torch::kFloat64));
    const auto unit = RowRms{.eps = eps}(a);
    CHECK(unit.sizes() == a.sizes());
    CHECK(((unit - exact).abs() / exact.abs().clamp_min(1e-30)).max().item<double>() < 1e-6);
  }
  const auto equal = torch::full(shape, 0.1f);  // roundings of one sign
  CHECK((RowRms{.eps = 0}(equal)-1).abs().max().item<double>() < 1e-6);
}

TEST_CASE("in float32 RowRms gives NaN, infinity and overflow what LibTorch's operators give them", "[normalizer]") {
  constexpr float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  auto a = torch::ones({6, 20});
  a[0][19] = nan;
  a[1][0] = infinity;
  a[2].fill_(3e38f);
  a[3].zero_();
  a[4].fill_(1e-40f);
  for (const double eps : {0.0, 1e-6}) {
    const auto unit = RowRms{.eps = eps}(a), plain = a / (a.square().mean(1, true).sqrt() + eps);
    CHECK(at::allclose(unit, plain, 1e-6, 1e-7, /*equal_nan=*/true));
  }
}

TEST_CASE("RowRms of credit on a graph or in any memory layout is RowRms", "[normalizer]") {
  torch::manual_seed(4);
  const auto a = torch::randn({6, 8, 4, 4});
  const auto unit = RowRms{}(a);
  CHECK(distance(RowRms{}(a.contiguous(torch::MemoryFormat::ChannelsLast)), unit) < 1e-6);
  CHECK(RowRms{}(a.clone().requires_grad_()).requires_grad());
}

TEST_CASE("RowRms of much credit is the same on several threads", "[normalizer][threads]") {
  torch::manual_seed(5);
  const auto a = torch::randn({50, 9000});
  const auto on = [&](int count) {
    const Threads these(count);
    return RowRms{}(a);
  };
  CHECK(torch::equal(on(3), on(1)));
}
