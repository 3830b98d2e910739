// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <creditlib/schedule/blend.hpp>

#include "../test.hpp"

using namespace creditlib;

TEST_CASE("Blend weighs both sources alike all the time", "[schedule]") {
  const auto at = [](std::int64_t epoch) { return Progress{.epoch = epoch, .epochs = 20, .step = 100 * epoch}; };
  using Two = std::array<double, 2>;

  CHECK(Blend{.alpha = 0.25}.weights(at(7)) == Two{0.75, 0.25});
  CHECK(Blend{}.weights(at(7)) == Two{0.5, 0.5});
}
