// SPDX-License-Identifier: Apache-2.0
#include "../threads.hpp"

#include <chrono>
#include <creditlib/detail/team.hpp>
#include <creditlib/runtime/cores.hpp>
#include <creditlib/runtime/denormals.hpp>
#include <creditlib/runtime/threads.hpp>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../test.hpp"

using creditlib::test::Threads;

namespace {

/// A step that takes as long as a test wants it to on one thread and on several.
auto step_of(int milliseconds_on_one, int milliseconds_on_several, std::multiset<int>& numbers) {
  return [=, &numbers] {
    numbers.insert(at::get_num_threads());
    std::this_thread::sleep_for(
        std::chrono::milliseconds(at::get_num_threads() == 1 ? milliseconds_on_one : milliseconds_on_several));
  };
}

}  // namespace

TEST_CASE("the faster number of threads is chosen, after steps on both", "[runtime][threads]") {
  const int all = std::min(2, creditlib::runtime::available_cores());
  if (all == 1) {
    SUCCEED("skipped: one core");
    return;
  }
  const Threads two(2);
  std::multiset<int> numbers;

  const auto several = creditlib::runtime::choose_threads(step_of(60, 5, numbers));
  CHECK(several.chosen == 2);
  CHECK(several.all == 2);
  CHECK(at::get_num_threads() == 2);
  CHECK(several.one_milliseconds > several.all_milliseconds);
  CHECK(numbers.count(1) == numbers.count(2));
  CHECK(numbers.count(1) >= 4);

  const auto one = creditlib::runtime::choose_threads(step_of(5, 60, numbers));
  CHECK(one.chosen == 1);
  CHECK(at::get_num_threads() == 1);
}

TEST_CASE("with one thread there is nothing to choose, and no step", "[runtime][threads]") {
  const Threads one(1);
  const auto trial = creditlib::runtime::choose_threads([] { FAIL("a step"); });
  CHECK(trial.chosen == 1);
  CHECK(trial.one_milliseconds == 0);
}

TEST_CASE("a step that throws leaves the number of threads as it was", "[runtime][threads]") {
  const Threads two(2);
  if (creditlib::runtime::available_cores() == 1) return;
  CHECK_THROWS_AS(creditlib::runtime::choose_threads([] { throw std::runtime_error("no"); }), std::runtime_error);
  CHECK(at::get_num_threads() == 2);
}

TEST_CASE("denormals are flushed on LibTorch's threads too", "[runtime][threads]") {
  const Threads three(3);
  const auto halves = [] {
    std::vector<float> found(3);
    creditlib::detail::in_shares(3, [&](std::int64_t i) {
      volatile float least = 1.2e-38f;
      found[static_cast<std::size_t>(i)] = least / 2;
    });
    return found;
  };
  for (const float half : halves()) CHECK(half > 0);
  if (!creditlib::runtime::flush_denormals()) return;
  CHECK(halves() == std::vector<float>{0, 0, 0});
  creditlib::runtime::flush_denormals(false);
  for (const float half : halves()) CHECK(half > 0);
}
