// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <creditlib/schedule/always.hpp>

#include "../test.hpp"

using namespace creditlib;

TEST_CASE("Always weighs its one source, all the time", "[schedule]") {
  const auto at = [](std::int64_t epoch) { return Progress{.epoch = epoch, .epochs = 20, .step = 100 * epoch}; };

  CHECK(Always{}.weights(at(5)) == std::array{1.0});
}
