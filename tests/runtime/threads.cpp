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

namespace {

/// Whether each of LibTorch's threads flushes denormals: in shares of ours, and in its own operators.
std::vector<bool> each_flushes(int threads) {
  const Threads these(threads);
  std::vector<bool> all;
  std::vector<float> halves(static_cast<std::size_t>(threads));
  creditlib::detail::in_shares(threads, [&](std::int64_t i) {
    volatile float least = 1.2e-38f;
    halves[static_cast<std::size_t>(i)] = least / 2;
  });
  for (const float half : halves) all.push_back(half == 0);
  const auto below = torch::full({threads, 1 << 20}, 1e-30f) * 1e-10f;
  for (const auto& part : below.unbind()) all.push_back(part.count_nonzero().item<std::int64_t>() == 0);
  return all;
}

}  // namespace

TEST_CASE("denormals are flushed on LibTorch's threads too", "[runtime][threads]") {
  const Threads three(3);
  CHECK(each_flushes(3) == std::vector<bool>(6, false));
  if (!creditlib::runtime::flush_denormals()) return;
  CHECK(each_flushes(3) == std::vector<bool>(6, true));
  creditlib::runtime::flush_denormals(false);
  CHECK(each_flushes(3) == std::vector<bool>(6, false));
}

TEST_CASE("denormals are flushed on threads that LibTorch starts later, and on those that wait from before",
          "[runtime][threads]") {
  const bool from_before = GENERATE(false, true);
  std::vector<bool> before, later, fewer, off;
  bool supported = false;
  std::thread([&] {  // it has OpenMP threads of its own
    if (from_before) before = each_flushes(4);
    const Threads one(1);
    supported = creditlib::runtime::flush_denormals();
    CHECK(at::get_num_threads() == 1);
    later = each_flushes(4);
    fewer = each_flushes(2);
    creditlib::runtime::flush_denormals(false);
    off = each_flushes(4);
  })
      .join();
  if (!supported) return;
  CHECK(before == std::vector<bool>(from_before ? 8 : 0, false));
  CHECK(later == std::vector<bool>(8, true));
  CHECK(fewer == std::vector<bool>(4, true));
  CHECK(off == std::vector<bool>(8, false));
}
