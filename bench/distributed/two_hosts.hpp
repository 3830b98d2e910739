// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <creditlib/error.hpp>
#include <cstdio>
#include <cstring>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "link.hpp"

namespace bench {

[[noreturn]] inline void refuse(const std::string& what, const std::string& why) {
  creditlib::detail::fail("Two hosts on one machine take root, iproute2, network namespaces and /dev/net/tun; here ",
                          what, " fails: ", why, ".");
}

/// What a call of the system has returned. Throws Error if it has failed.
inline int done(int result, const std::string& what) {
  if (result < 0) refuse(what, std::strerror(errno));
  return result;
}

/// An open file descriptor, which it closes.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() { ::close(number_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  operator int() const { return number_; }

 private:
  int number_;
};

/// A network namespace with an address and an interface of its own, of which this process has the other end.
class Host {
 public:
  static constexpr const char* interface = "wire0";

  /// Throws Error if the system does not make it.
  Host(const std::string& name, const std::string& address) : namespace_(name), cable_(opened_in(name)) {
    ifreq request{};
    std::strcpy(request.ifr_name, interface);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    done(::ioctl(cable_, TUNSETIFF, &request), "ioctl TUNSETIFF");
    // TCP's segments uncut and without checksums: a tenth of the relay's work, which has no core of its own.
    done(::ioctl(cable_, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4), "ioctl TUNSETOFFLOAD");
    // The queue holds what TCP sends at once while the relay waits for a core.
    command("ip -n " + name + " link set " + interface + " up txqueuelen 10000");
    command("ip -n " + name + " addr add " + address + "/24 dev " + interface);
    command("ip -n " + name + " link set lo up");
  }

  const std::string& name() const { return namespace_.name; }
  /// Gives the frames that the host sends, and takes those that it is to receive.
  int cable() const { return cable_; }
  void pull_out() const { command("ip -n " + name() + " link set " + interface + " down"); }

 private:
  struct Namespace {
    explicit Namespace(std::string it) : name(std::move(it)) { command("ip netns add " + name); }
    ~Namespace() { said_by("ip netns del " + name); }
    Namespace(const Namespace&) = delete;
    Namespace& operator=(const Namespace&) = delete;
    std::string name;
  };

  /// The first line of what a command has said if it failed.
  static std::optional<std::string> said_by(const std::string& words) {
    const auto pipe = ::popen((words + " 2>&1").c_str(), "r");
    if (pipe == nullptr) return std::strerror(errno);
    std::string said;
    for (int letter = 0; (letter = std::fgetc(pipe)) != EOF && letter != '\n';) said += static_cast<char>(letter);
    return ::pclose(pipe) == 0 ? std::nullopt : std::optional(said);
  }
  static void command(const std::string& words) {
    if (const auto said = said_by(words)) refuse(words, *said);
  }

  /// What makes an interface in the namespace, which lasts as long as the descriptor.
  static int opened_in(const std::string& name) {
    const auto open = [&] {  // in a thread of its own, which enters the namespace for good
      const auto path = "/run/netns/" + name;
      const Descriptor inside(done(::open(path.c_str(), O_RDONLY | O_CLOEXEC), "open " + path));
      done(::setns(inside, CLONE_NEWNET), "setns " + path);
      return done(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), "open /dev/net/tun");
    };
    return std::async(std::launch::async, open).get();
  }

  Namespace namespace_;
  Descriptor cable_;
};

/// Two hosts on this machine, with the addresses 10.233.0.1 and 10.233.0.2, and a link between them.
class TwoHosts {
 public:
  /// Throws Error if the system does not make them: without root, iproute2, network namespaces or /dev/net/tun.
  explicit TwoHosts(const Link& link) : relay_([this, link] { run(link); }) {}
  ~TwoHosts() {
    ::eventfd_write(end_, 1);
    relay_.join();
  }
  TwoHosts(const TwoHosts&) = delete;
  TwoHosts& operator=(const TwoHosts&) = delete;

  const std::string& name(int host) const { return hosts_[static_cast<std::size_t>(host)].name(); }
  /// A command that runs on a host.
  std::vector<std::string> on(int host, const std::vector<std::string>& command) const {
    std::vector<std::string> all{"ip", "netns", "exec", name(host)};
    all.insert(all.end(), command.begin(), command.end());
    return all;
  }
  /// From now on nothing that one host sends reaches the other.
  void cut() const { hosts_[0].pull_out(); }

 private:
  static std::string named(int host) { return "creditlib-" + std::to_string(::getpid()) + "-" + std::to_string(host); }

  void run(const Link& link) const {
    ::prctl(PR_SET_TIMERSLACK, 1UL);  // or timers ring 50 us late
    const sched_param first{.sched_priority = 1};
    ::sched_setscheduler(0, SCHED_FIFO, &first);  // a cable does not wait for a core; late where that is not allowed
    relay(hosts_[0].cable(), hosts_[1].cable(), link, end_);
  }

  std::array<Host, 2> hosts_{Host(named(0), "10.233.0.1"), Host(named(1), "10.233.0.2")};
  Descriptor end_{done(::eventfd(0, EFD_CLOEXEC), "eventfd")};
  std::thread relay_;
};

}  // namespace bench
