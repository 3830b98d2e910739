// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/distributed/group.hpp>
#include <cstdint>

namespace creditlib {

/// Where a process' samples are among those of all processes that train together.
struct SampleRange {
  std::int64_t first = 0;  ///< the first of its own
  std::int64_t count = 0;  ///< of its own
  std::int64_t all = 0;    ///< of all processes
};

namespace detail {

/// That of this process' `samples`, in the order of ranks. One small message, by this device; none in one process.
inline SampleRange sample_range(distributed::Group& group, std::int64_t samples, torch::Device device) {
  if (group.size() == 1) return {0, samples, samples};
  const auto counts = torch::zeros({group.size()}, torch::TensorOptions(torch::kInt64).device(device));
  counts[group.rank()] = samples;
  group.sum({counts});
  const auto before = counts.narrow(0, 0, group.rank()).sum().item<std::int64_t>();
  return {before, samples, counts.sum().item<std::int64_t>()};
}

}  // namespace detail
}  // namespace creditlib
