// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <creditlib/net/time_embedding.hpp>

#include "../io/files.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("the time embedding is sines, then cosines, of frequencies from 1 down to 10000 to the power of (1 - n) / n",
          "[net]") {
  for (const double t : {0.0, 0.25, 1.0, 3.7}) {
    for (const std::int64_t size : {2, 6, 32}) {
      const auto embedded = time_embedding(t, size, torch::kFloat64);

      REQUIRE(embedded.sizes() == torch::IntArrayRef({size}));
      const std::int64_t n = size / 2;
      for (std::int64_t i = 0; i < n; ++i) {
        const double frequency = std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(n));
        CHECK(embedded[i].item<double>() == Approx(std::sin(t * frequency)).margin(1e-14));
        CHECK(embedded[n + i].item<double>() == Approx(std::cos(t * frequency)).margin(1e-14));
      }
    }
  }
}

TEST_CASE("the time embedding is of the dtype that it is asked for, and the same in each", "[net]") {
  const auto single = time_embedding(0.75, 32, torch::kFloat32), twice = time_embedding(0.75, 32, torch::kFloat64);

  CHECK(single.scalar_type() == torch::kFloat32);
  CHECK((single.to(torch::kFloat64) - twice).abs().max().item<double>() < 1e-6);
}

TEST_CASE("a time embedding of an odd size, or of none, is refused", "[net]") {
  for (const std::int64_t size : {-2, 0, 1, 7}) {
    check_error([&] { time_embedding(0.5, size, torch::kFloat32); },
                {"time_embedding: size is " + std::to_string(size), "expected an even number of at least 2"});
  }
}
