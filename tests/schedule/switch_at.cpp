// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <creditlib/error.hpp>
#include <creditlib/schedule/switch_at.hpp>

#include "../test.hpp"

using namespace creditlib;

TEST_CASE("SwitchAt weighs the first source, then the second, which may learn before", "[schedule]") {
  const auto at = [](std::int64_t epoch) { return Progress{.epoch = epoch, .epochs = 20, .step = 100 * epoch}; };
  using Two = std::array<double, 2>;
  using Learn = std::array<bool, 2>;

  const SwitchAt schedule{.epoch = 3, .lead = 2};
  CHECK(schedule.weights(at(0)) == Two{1, 0});
  CHECK(schedule.weights(at(2)) == Two{1, 0});
  CHECK(schedule.weights(at(3)) == Two{0, 1});
  CHECK(schedule.weights(at(19)) == Two{0, 1});
  CHECK(schedule.learns(at(0)) == Learn{true, false});
  CHECK(schedule.learns(at(1)) == Learn{true, true});
  CHECK(schedule.learns(at(3)) == Learn{false, true});
  CHECK(SwitchAt{}.weights(at(0)) == Two{0, 1});
  CHECK_THROWS_AS((SwitchAt{.epoch = 3, .lead = -1}.weights(at(0))), Error);
  CHECK(SwitchAt{.epoch = 3}.learns(at(2)) == Learn{true, false});
}
