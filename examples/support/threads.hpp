// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Parallel.h>

#include <creditlib/data/batches.hpp>
#include <cstdint>
#include <functional>
#include <string>

#include "support/flags.hpp"
#include "support/trainer.hpp"

namespace support {

/// --threads: a number, or "auto".
void add_threads_flag(Flags& flags, std::string& threads);

/// Sets LibTorch's threads to the number that the flag says, or, for auto, to all that the process may use, until
/// settle_threads() chooses. Never more than there are cores for: one of them makes batches under --prefetch, if there
/// are several.
void set_threads(const std::string& wanted, bool prefetch = false);

/// How --threads auto was decided for a trainer that goes on for `steps`, on a batch of its kind: by timing its own
/// steps, on one thread and on all, if there are enough of them to gain by it; a run that goes on takes the number
/// `earlier` that it was begun with (0: none). Says on standard error what it chose, unless quiet. Returns LibTorch's
/// number from now on; without auto that is what the flag says.
std::int64_t settle_threads(Trainer& trainer, const creditlib::data::Batch& batch, std::int64_t steps,
                            std::int64_t earlier, const std::string& title, bool quiet);

/// Under --threads auto takes the number `earlier`, or all threads if it is 0; whether a run of so many steps should be
/// timed: one that begins, in one process, and is long enough to gain by it.
bool starts_timing(std::int64_t steps, std::int64_t earlier);
/// Times `step` on one thread and on all, and takes the faster.
void time_threads(const std::function<void()>& step, const std::string& title, bool quiet);

/// The same for a `step` of the trainer's own kind, in a rehearsal if it is timed.
template <class OfAnyKind>
std::int64_t settle_threads(OfAnyKind& trainer, const std::function<void()>& step, std::int64_t steps,
                            std::int64_t earlier, const std::string& title, bool quiet) {
  if (starts_timing(steps, earlier)) trainer.rehearse([&] { time_threads(step, title, quiet); });
  return at::get_num_threads();
}

}  // namespace support
