// SPDX-License-Identifier: Apache-2.0
#include <ATen/record_function.h>

#include <atomic>
#include <creditlib/detail/team.hpp>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../test.hpp"
#include "../threads.hpp"

using creditlib::detail::in_shares;
using creditlib::detail::team_size;
using creditlib::test::Threads;

TEST_CASE("every share is worked on once, on as many threads as LibTorch has", "[detail][threads]") {
  const Threads three(3);
  REQUIRE(team_size() == 3);
  for (const std::int64_t shares : {0, 1, 2, 3, 7}) {
    std::vector<std::atomic<int>> times(static_cast<std::size_t>(shares));
    std::mutex mutex;
    std::set<std::thread::id> ids;
    in_shares(shares, [&](std::int64_t i) {
      ++times[static_cast<std::size_t>(i)];
      const std::lock_guard<std::mutex> lock(mutex);
      ids.insert(std::this_thread::get_id());
    });
    for (const auto& count : times) CHECK(count == 1);
    CHECK(ids.size() == static_cast<std::size_t>(std::min<std::int64_t>(shares, 3)));
  }
}

TEST_CASE("LibTorch's operators run on one thread within a share, and there are no teams within teams",
          "[detail][threads]") {
  const Threads two(2);
  std::vector<std::int64_t> sizes(2), calls(2);
  std::vector<int> in_region(2), numbers(2);
  in_shares(2, [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    sizes[at] = team_size();
    in_region[at] = at::in_parallel_region();
    numbers[at] = at::get_num_threads();
    in_shares(3, [&](std::int64_t) { ++calls[at]; });
  });
  CHECK(sizes == std::vector<std::int64_t>{1, 1});
  CHECK(in_region == std::vector<int>{1, 1});
  CHECK(numbers == std::vector<int>{1, 1});  // of threads that oneDNN plans for
  CHECK(at::get_num_threads() == 2);
  CHECK(calls == std::vector<std::int64_t>{3, 3});
}

TEST_CASE("modes of the calling thread hold in all shares", "[detail][threads]") {
  const Threads two(2);
  const auto recording = [] {
    std::vector<int> on(2);
    in_shares(2, [&](std::int64_t i) { on[static_cast<std::size_t>(i)] = torch::GradMode::is_enabled(); });
    return on;
  };
  CHECK(recording() == std::vector<int>{1, 1});
  {
    const torch::NoGradGuard no_grad;
    CHECK(recording() == std::vector<int>{0, 0});
  }
  CHECK(recording() == std::vector<int>{1, 1});
}

TEST_CASE("what a share throws arrives, and the other shares are done all the same", "[detail][threads]") {
  const Threads two(2);
  std::atomic<int> done = 0;
  const auto fails_at = [&](std::int64_t bad) {
    done = 0;
    in_shares(2, [&](std::int64_t i) {
      if (i == bad) throw std::runtime_error("share " + std::to_string(i));
      ++done;
    });
  };
  for (const std::int64_t bad : {0, 1}) {
    CHECK_THROWS_WITH(fails_at(bad), "share " + std::to_string(bad));
    CHECK(done == 1);
  }
  CHECK_NOTHROW(fails_at(2));
}
