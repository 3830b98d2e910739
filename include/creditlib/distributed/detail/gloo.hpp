// SPDX-License-Identifier: Apache-2.0
#pragma once

#if !__has_include(<gloo/algorithm.h>)
#error \
    "creditlib: creditlib/distributed/from_environment.hpp needs gloo's headers; link the CMake target creditlib::distributed, which has declarations in their place"
#endif
#if !defined(USE_C10D_GLOO)
#define USE_C10D_GLOO  // without it ProcessGroupGloo.hpp is empty
#endif

#include <chrono>
#include <creditlib/distributed/detail/backend_group.hpp>
#include <creditlib/distributed/detail/environment.hpp>
#include <creditlib/distributed/detail/meeting.hpp>
#include <creditlib/distributed/group.hpp>
#include <memory>
#include <sstream>
#include <string>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <utility>

namespace creditlib::detail {

/// A group over Gloo. Returns when all its processes are there.
inline std::shared_ptr<distributed::Group> gloo_group(const GroupEnvironment& environment,
                                                      std::chrono::milliseconds timeout) {
  const auto [store, marks] = met(environment, timeout);
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
