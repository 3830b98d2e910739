// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <creditlib/runtime/cores.hpp>
#include <creditlib/runtime/detail/middle.hpp>
#include <vector>

namespace creditlib::runtime {

/// The result of a short timing on one thread and on all.
struct ThreadTrial {
  int chosen, all;
  double one_milliseconds, all_milliseconds;  ///< medians; 0 if there is one thread to choose from
};

/// Times `step()` alternately on one of LibTorch's threads and on all, and sets LibTorch's number for the calling thread
/// to that which was faster: short steps lose more by waking threads than these save.
///
///     trainer.rehearse([&] { runtime::choose_threads([&] { trainer.step(x, y); }); });
///
/// - "All" is LibTorch's present number, but no more than available_cores().
/// - Takes half a second, or three steps on each number and one before them if that is longer.
template <class Step>
ThreadTrial choose_threads(const Step& step) {
  constexpr double long_enough = 500;  // milliseconds
  constexpr std::size_t fewest = 3, most = 25;
  const int before = at::get_num_threads(), all = std::min(before, available_cores());
  if (all == 1) {
    at::set_num_threads(1);
    return {1, 1, 0, 0};
  }
  std::vector<double> times[2];
  double so_far = 0;
  try {
    for (std::size_t round = 0; round <= most && (round <= fewest || so_far < long_enough); ++round) {
      for (const bool on_all : {false, true}) {  // alternately, so that both meet the same load
        at::set_num_threads(on_all ? all : 1);
        const auto start = std::chrono::steady_clock::now();
        step();
        const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
        so_far += taken.count();
        if (round > 0) times[on_all].push_back(taken.count());  // the first has buffers to make
      }
    }
  } catch (...) {
    at::set_num_threads(before);
    throw;
  }
  const double one = detail::middle(times[0]), together = detail::middle(times[1]);
  const int chosen = together < one ? all : 1;
  at::set_num_threads(chosen);
  return {chosen, all, one, together};
}

}  // namespace creditlib::runtime
