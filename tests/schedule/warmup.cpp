// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <creditlib/schedule/warmup.hpp>
#include <vector>

#include "../test.hpp"

using namespace creditlib;

TEST_CASE("Warmup raises the second source's weight over the ramp, and lets both learn", "[schedule]") {
  const auto at = [](std::int64_t epoch) { return Progress{.epoch = epoch, .epochs = 20, .step = 100 * epoch}; };
  using Two = std::array<double, 2>;
  using Learn = std::array<bool, 2>;

  const Warmup schedule{.epochs = 4, .ramp = 5};
  const std::vector<double> second{0, 0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1};
  for (std::int64_t epoch = 0; epoch < 10; ++epoch) {
    const auto weights = schedule.weights(at(epoch));
    CHECK(weights[1] == Approx(second[static_cast<std::size_t>(epoch)]));
    CHECK(weights[0] + weights[1] == Approx(1));
    CHECK(schedule.learns(at(epoch)) == Learn{true, true});
  }
  CHECK(Warmup{.epochs = 0, .ramp = 1}.weights(at(0)) == Two{0, 1});
}
