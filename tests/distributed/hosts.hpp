// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "processes.hpp"

namespace creditlib::test {

/// Two hosts on this machine, each a network namespace with an address of its own, and a link between them.
class Hosts {
 public:
  /// None where the system does not make them: without root, iproute2 or namespaces.
  static std::unique_ptr<Hosts> made() {
    auto hosts = std::unique_ptr<Hosts>(new Hosts());
    return hosts->linked_ ? std::move(hosts) : nullptr;
  }
  ~Hosts() {
    for (int host = 0; host < 2; ++host) done("ip netns del " + name(host));
  }
  Hosts(const Hosts&) = delete;
  Hosts& operator=(const Hosts&) = delete;

  /// A command that runs on a host.
  std::vector<std::string> on(int host, const std::vector<std::string>& command) const {
    std::vector<std::string> all{"ip", "netns", "exec", name(host)};
    all.insert(all.end(), command.begin(), command.end());
    return all;
  }
  /// What the processes of a group are told on either host.
  static Variables variables() { return {{"MASTER_ADDR", "10.233.0.1"}, {"GLOO_SOCKET_IFNAME", interface}}; }

  /// From now on nothing that one host sends reaches the other.
  void cut() const { done("ip -n " + name(0) + " link set " + interface + " down"); }

 private:
  Hosts() {
    const std::string first = name(0), second = name(1), device = interface;
    linked_ = done("ip netns add " + first) && done("ip netns add " + second) &&
              done("ip link add " + device + " netns " + first + " type veth peer name " + device + " netns " + second);
    for (int host = 0; host < 2; ++host) {
      const auto at = "ip -n " + name(host);
      linked_ = linked_ && done(at + " addr add 10.233.0." + std::to_string(host + 1) + "/24 dev " + device) &&
                done(at + " link set lo up") && done(at + " link set " + device + " up");
    }
  }

  static bool done(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }
  static std::string name(int host) { return "creditlib-" + std::to_string(::getpid()) + "-" + std::to_string(host); }

  static constexpr const char* interface = "wire0";
  bool linked_ = false;
};

}  // namespace creditlib::test
