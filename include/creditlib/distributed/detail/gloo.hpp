// SPDX-License-Identifier: Apache-2.0
#pragma once

#if !__has_include(<gloo/algorithm.h>)
#error \
    "creditlib: creditlib/distributed/from_environment.hpp needs gloo's headers; link the CMake target creditlib::distributed, which has declarations in their place"
#endif
#if !defined(USE_C10D_GLOO)
#define USE_C10D_GLOO  // without it ProcessGroupGloo.hpp is empty
#endif

#include <c10/util/StringUtil.h>

#include <atomic>
#include <chrono>
#include <creditlib/distributed/detail/backend_group.hpp>
#include <creditlib/distributed/detail/environment.hpp>
#include <creditlib/distributed/detail/group_marks.hpp>
#include <creditlib/distributed/group.hpp>
#include <creditlib/error.hpp>
#include <exception>
#include <memory>
#include <sstream>
#include <string>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
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

/// A group over Gloo. Returns when all its processes are there.
inline std::shared_ptr<distributed::Group> gloo_group(const GroupEnvironment& environment,
                                                      std::chrono::milliseconds timeout) {
  static std::atomic<int> groups = 0;
  const auto name = c10::str("creditlib/", environment.attempt, "/", groups++);
  const auto store = c10::make_intrusive<c10d::PrefixStore>(name, store_of(environment, timeout));
  const GroupMarks marks(store, environment.rank, environment.size,
                         environment.agent_has_store ? "torchrun's agent" : "Rank 0");
  marks.meet(timeout);

  auto options = c10d::ProcessGroupGloo::Options::create_default(timeout);
  if (const auto interfaces = environment_variable("GLOO_SOCKET_IFNAME")) {
    options->devices.clear();
    std::istringstream names(*interfaces);
    for (std::string each; std::getline(names, each, ',');) {
      options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForInterface(each));
    }
  }
  auto backend = c10::make_intrusive<c10d::ProcessGroupGloo>(c10::make_intrusive<c10d::PrefixStore>("gloo", store),
                                                             static_cast<int>(environment.rank),
                                                             static_cast<int>(environment.size), std::move(options));
  return std::make_shared<BackendGroup>(std::move(backend), marks, timeout);
}

}  // namespace creditlib::detail
