// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <creditlib/distributed/c10d.hpp>
#include <cstdint>
#include <exception>
#include <memory>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <vector>

namespace creditlib::test {

/// Runs `action(group)` in one thread per rank, over a store. Rethrows what a rank has thrown, the lowest one's.
template <class Action>
void in_ranks(std::int64_t size, const Action& action, std::chrono::milliseconds timeout = std::chrono::seconds(20)) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  std::vector<std::exception_ptr> thrown(static_cast<std::size_t>(size));
  std::vector<std::thread> threads;
  for (std::int64_t rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        action(distributed::over(store, rank, size, {.timeout = timeout}));
      } catch (...) {
        thrown[static_cast<std::size_t>(rank)] = std::current_exception();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& each : thrown) {
    if (each) std::rethrow_exception(each);
  }
}

}  // namespace creditlib::test
