// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <creditlib/detail/team.hpp>
#include <cstdint>

namespace creditlib::runtime {

/// From now on, treats numbers below the normal range (float32: magnitudes under 1.2e-38) as 0, in inputs and results,
/// on the calling thread, on LibTorch's threads for its work, whatever their number is later, and on threads that it
/// starts afterwards. Other threads that run already are not reached, nor LibTorch's threads for their work.
///
/// Many processors, Intel's in particular, take a few hundred cycles per such number, and an optimizer's second moments
/// become that small in units that hardly change any more: up to a quarter of a step (docs/performance.md). Call it at
/// the start of main. Returns whether the processor supports it; if not, nothing changes.
inline bool flush_denormals(bool on = true) {
  const bool supported = at::globalContext().setFlushDenormal(on);
  // Threads that wait from before LibTorch's number became 1 are reached, or end, if there is a team of at least two.
  const int number = at::get_num_threads();
  if (number == 1) at::set_num_threads(2);
  detail::in_shares(detail::team_size(), [&](std::int64_t) { at::globalContext().setFlushDenormal(on); });
  if (number == 1) at::set_num_threads(1);
  return supported;
}

}  // namespace creditlib::runtime

namespace creditlib {
namespace process = runtime;  // deprecated name
}
