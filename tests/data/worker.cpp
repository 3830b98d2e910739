// SPDX-License-Identifier: Apache-2.0
#include <creditlib/data/detail/worker.hpp>
#include <future>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../test.hpp"

using creditlib::detail::Worker;

TEST_CASE("a worker does what it is given in order, on one thread that is not the caller's", "[data]") {
  Worker worker;
  std::vector<int> done;
  std::set<std::thread::id> ids;
  std::vector<std::future<int>> results;
  for (int i = 0; i < 20; ++i) {
    results.push_back(worker.start([&, i] {
      done.push_back(i);
      ids.insert(std::this_thread::get_id());
      return 2 * i;
    }));
  }
  for (int i = 0; i < 20; ++i) CHECK(results[static_cast<std::size_t>(i)].get() == 2 * i);
  REQUIRE(done.size() == 20);
  for (int i = 0; i < 20; ++i) CHECK(done[static_cast<std::size_t>(i)] == i);
  CHECK(ids.size() == 1);
  CHECK(!ids.contains(std::this_thread::get_id()));
}

TEST_CASE("what a worker was given is done before it ends, and what that throws is in the future", "[data]") {
  std::future<int> good, bad;
  {
    Worker worker;
    bad = worker.start([]() -> int { throw std::runtime_error("bad"); });
    good = worker.start([] { return 7; });
  }
  CHECK_THROWS_WITH(bad.get(), "bad");
  CHECK(good.get() == 7);
  Worker unused;
}
