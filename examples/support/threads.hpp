// SPDX-License-Identifier: Apache-2.0
#pragma once

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
/// The same where `step` is what is to be timed, which changes nothing that matters.
std::int64_t settle_threads(const std::function<void()>& step, std::int64_t steps, const std::string& title,
                            bool quiet);

}  // namespace support
