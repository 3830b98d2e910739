// SPDX-License-Identifier: Apache-2.0
#include "distributed/link.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <string>
#include <thread>

#include "../test.hpp"

using bench::Link, bench::Preface;
using std::chrono::milliseconds;

namespace {

using Clock = std::chrono::steady_clock;

std::string frame(const std::string& bytes, const Preface& preface = {}) {
  std::string all(sizeof preface, '\0');
  std::memcpy(all.data(), &preface, sizeof preface);
  return all + bytes;
}

/// A link between two sockets, in the place of two hosts' interfaces.
class Cable {
 public:
  explicit Cable(const Link& link) : relay_([this, link] { bench::relay(ends_[0][1], ends_[1][1], link, until_); }) {}
  ~Cable() {
    eventfd_write(until_, 1);
    relay_.join();
    for (const auto& pair : ends_) {
      for (const int end : pair) close(end);
    }
    close(until_);
  }
  Cable(const Cable&) = delete;
  Cable& operator=(const Cable&) = delete;

  void send(std::size_t host, const std::string& frame) const {
    REQUIRE(write(ends_[host][0], frame.data(), frame.size()) == static_cast<ssize_t>(frame.size()));
  }
  std::string received(std::size_t host) const {
    std::string frame(1 << 16, '\0');
    const auto length = read(ends_[host][0], frame.data(), frame.size());
    REQUIRE(length > 0);
    frame.resize(static_cast<std::size_t>(length));
    return frame;
  }

 private:
  static std::array<int, 2> sockets() {
    std::array<int, 2> pair{};
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair.data()) == 0);
    const timeval patience{.tv_sec = 20, .tv_usec = 0};
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    fcntl(pair[1], F_SETFL, O_NONBLOCK);
    return pair;
  }

  std::array<std::array<int, 2>, 2> ends_{sockets(), sockets()};
  int until_ = eventfd(0, 0);
  std::thread relay_;
};

}  // namespace

TEST_CASE("a link hands over frames as they are and in their order, both ways, after its delay", "[bench]") {
  const Cable cable({.delay = milliseconds(30)});
  const auto start = Clock::now();
  for (const char* text : {"first", "second", "third"}) {
    cable.send(0, frame(text));
    cable.send(1, frame(text));
  }

  for (const std::size_t host : {0, 1}) {
    for (const char* text : {"first", "second", "third"}) CHECK(cable.received(host) == frame(text));
  }

  CHECK(Clock::now() - start >= milliseconds(30));
}

TEST_CASE("a link sends one frame after the other at its rate, and then delays them", "[bench]") {
  const Cable cable({.delay = milliseconds(20), .megabits_per_second = 1});
  const auto start = Clock::now();
  for (int i = 0; i < 5; ++i) cable.send(0, frame(std::string(1000, 'x')));

  for (int i = 0; i < 5; ++i) CHECK(cable.received(1) == frame(std::string(1000, 'x')));

  CHECK(Clock::now() - start >= milliseconds(5 * 8 + 20));
}

TEST_CASE("what TCP gives at once counts as the segments that a network card cuts it into", "[bench]") {
  const std::size_t ethernet_and_ip = 34, tcp = 32, payload = 3500;
  std::string bytes(ethernet_and_ip + tcp + payload, '\0');
  bytes[ethernet_and_ip + 12] = static_cast<char>(0x80);  // TCP's header has 8 words
  const Preface cut{.cut_by = 1, .cut_to = 1000, .transport = ethernet_and_ip};

  CHECK(bench::wire_bytes(frame(bytes)) == bytes.size());
  CHECK(bench::wire_bytes(frame(bytes, cut)) == payload + 4 * (ethernet_and_ip + tcp));
}
