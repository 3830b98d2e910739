// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/distributed/group.hpp>
#include <cstdint>
#include <memory>

/// Programs that train in several processes (docs/distributed.md): all of them make the same calls, and the first one
/// alone speaks and writes.
namespace support {

/// How many processes a program can have. One for several gives group() to its batches and trainers.
enum class Processes { One, Several };

/// The processes of this run, each with rows of its own of every batch; alone() until join_processes().
const std::shared_ptr<creditlib::distributed::Group>& group();
/// This process' rank, and whether it is the one that speaks and writes: rank 0, or the only one. Known from the
/// program's start to its end.
std::int64_t rank();
bool leads();
/// Whether it is the first on its machine: the one to say what is wrong with the command line, and with the files that
/// it names, before the processes have met.
bool leads_here();

/// This process' rows of a batch's (B, ...) in all processes: equal parts, as data::Batches has them.
torch::Tensor own_rows(const torch::Tensor& whole);

/// While it lives the run has the processes that torchrun or --distributed has started. In those that do not lead,
/// standard output goes nowhere from then on.
class JoinedProcesses {
 public:
  JoinedProcesses();
  ~JoinedProcesses();
  JoinedProcesses(const JoinedProcesses&) = delete;
  JoinedProcesses& operator=(const JoinedProcesses&) = delete;
};

/// WORLD_SIZE of the environment, with which torchrun says how many processes it has started; 1 if it is not set.
std::int64_t started_processes();
/// Of those on this machine; 1 if nothing says so. Throw Error for what is no number.
std::int64_t local_processes();

/// --distributed: throws UsageError where torchrun has started processes too.
void check_distributed(std::int64_t count);
/// Whether this process is to start the others, and not to train itself.
bool is_starter(std::int64_t count);

/// Runs this program, with its arguments, in so many processes on this machine, as torchrun does, and returns the first
/// exit code that is not 0. What stops this process stops them; if one fails, the others are stopped.
int run_in_processes(std::int64_t count, char** arguments);

}  // namespace support
