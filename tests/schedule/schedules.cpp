#include <creditlib/error.hpp>
#include <creditlib/schedule/always.hpp>
#include <creditlib/schedule/blend.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <creditlib/schedule/warmup.hpp>
#include <vector>

#include "../test.hpp"

using namespace creditlib;

TEST_CASE("schedules weigh the sources epoch by epoch", "[schedule]") {
  const auto at = [](std::int64_t epoch) { return Progress{.epoch = epoch, .epochs = 20, .step = 100 * epoch}; };
  using Two = std::array<double, 2>;
  using Learn = std::array<bool, 2>;

  SECTION("Always") { CHECK(Always{}.weights(at(5)) == std::array{1.0}); }
  SECTION("SwitchAt") {
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
  SECTION("Blend") {
    CHECK(Blend{.alpha = 0.25}.weights(at(7)) == Two{0.75, 0.25});
    CHECK(Blend{}.weights(at(7)) == Two{0.5, 0.5});
  }
  SECTION("Warmup") {
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
}
