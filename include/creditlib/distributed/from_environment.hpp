// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/distributed/c10d.hpp>
#include <creditlib/distributed/detail/environment.hpp>
#include <creditlib/distributed/detail/gloo.hpp>
#include <creditlib/distributed/group.hpp>
#include <memory>

namespace creditlib::distributed {

/// The processes that torchrun has started, or that the environment names in the same way, over Gloo and TCP:
///
///     torchrun --no-python --nproc-per-node 2 ./program
///
/// - Reads RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. alone() if RANK and WORLD_SIZE are not set, or WORLD_SIZE is 1.
/// - Returns when all processes are there. All make the same calls of from_environment().
/// - GLOO_SOCKET_IFNAME, if set, names the network interface; otherwise it is the one of the host's own name.
/// - Throws Error for variables that are missing or no numbers, with their names; and if a rank does not come within the
///   timeout, with its number.
///
/// Needs the CMake target creditlib::distributed.
inline std::shared_ptr<Group> from_environment(const GroupOptions& options = {}) {
  return detail::translated([&]() -> std::shared_ptr<Group> {
    const auto environment = detail::read_environment();
    if (environment.size == 1) return alone();
    return detail::gloo_group(environment, options.timeout);
  });
}

}  // namespace creditlib::distributed
