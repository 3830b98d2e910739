// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/util/StringUtil.h>

#include <atomic>
#include <chrono>
#include <creditlib/distributed/detail/environment.hpp>
#include <creditlib/distributed/detail/group_marks.hpp>
#include <creditlib/error.hpp>
#include <exception>
#include <string>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>

namespace creditlib::detail {

inline c10::intrusive_ptr<c10d::Store> store_of(const GroupEnvironment& environment,
                                                std::chrono::milliseconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = environment.port;
  options.isServer = environment.rank == 0 && !environment.agent_has_store;
  options.waitWorkers = false;
  options.timeout = timeout;
  options.multiTenant = true;
  try {
    return c10::make_intrusive<c10d::TCPStore>(environment.host, options);
  } catch (const std::exception& error) {
    const std::string reason = error.what();
    fail(options.isServer ? "Rank 0 cannot keep the group's store at " : "The group's store does not answer at ",
         environment.host, ":", environment.port,
         " (MASTER_ADDR and MASTER_PORT): ", reason.substr(0, reason.find('\n')));
  }
}

/// What the processes of a group have in common before they have a backend.
struct Meeting {
  c10::intrusive_ptr<c10d::Store> store;
  GroupMarks marks;
};

/// Returns when all processes of the environment are there.
inline Meeting met(const GroupEnvironment& environment, std::chrono::milliseconds timeout) {
  static std::atomic<int> groups = 0;
  const auto name = c10::str("creditlib/", environment.attempt, "/", groups++);
  const auto store = c10::make_intrusive<c10d::PrefixStore>(name, store_of(environment, timeout));
  GroupMarks marks(store, environment.rank, environment.size,
                   environment.agent_has_store ? "torchrun's agent" : "Rank 0");
  marks.meet(timeout);
  return {store, std::move(marks)};
}

}  // namespace creditlib::detail
