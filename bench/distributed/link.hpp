// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <deque>
#include <optional>
#include <span>
#include <vector>

namespace bench {

/// What a link does to frames, each way: one after the other is sent at the rate, and arrives `delay` after its last bit.
struct Link {
  std::chrono::nanoseconds delay{0};
  std::optional<double> megabits_per_second = {};  ///< None: a frame takes no time to send.
};

/// What a TAP device puts before a frame: virtio_net_hdr of <linux/virtio_net.h>, which is no header for C++.
struct Preface {
  std::uint8_t flags = 0, cut_by = 0;
  std::uint16_t headers = 0, cut_to = 0, transport = 0, checksum = 0;
};

/// How many bytes a frame is on the wire. TCP gives up to 64 KB at once; a network card cuts them into segments of `cut_to`
/// bytes, each with headers of its own.
inline std::size_t wire_bytes(std::span<const char> prefaced) {
  Preface preface;
  if (prefaced.size() < sizeof preface) return 0;
  std::memcpy(&preface, prefaced.data(), sizeof preface);
  const auto frame = prefaced.subspan(sizeof preface);
  const std::size_t tcp = preface.transport;  // where TCP's header begins; its 13th byte has its length in words
  if (preface.cut_by == 0 || preface.cut_to == 0 || frame.size() <= tcp + 12) return frame.size();
  const auto headers = tcp + 4 * (static_cast<std::size_t>(static_cast<unsigned char>(frame[tcp + 12])) >> 4U);
  if (frame.size() <= headers) return frame.size();
  const auto payload = frame.size() - headers, segments = (payload + preface.cut_to - 1) / preface.cut_to;
  return payload + segments * headers;
}

/// One way of a link: frames that have been taken from a file descriptor, on their way to another.
class OneWay {
 public:
  using Clock = std::chrono::steady_clock;

  /// Descriptors that do not block, and that give and take a frame a call.
  OneWay(int from, int to, const Link& link) : from_(from), to_(to), link_(link) {}

  /// Takes what the sender has sent by now.
  void take() {
    for (int frames = 0; frames < 64; ++frames) {  // a few at a time: the other way must not wait
      const auto length = ::read(from_, buffer_.data(), buffer_.size());
      if (length <= 0) return;
      const std::span frame(buffer_.data(), static_cast<std::size_t>(length));
      free_ = std::max(Clock::now(), free_) + sending(wire_bytes(frame));
      frames_.push_back({free_ + link_.delay, {frame.begin(), frame.end()}});
    }
  }

  /// Hands over what has arrived by now. Frames that the receiver does not take are lost, as on a cable.
  void deliver() {
    while (!frames_.empty() && frames_.front().arrives <= Clock::now()) {
      const auto& bytes = frames_.front().bytes;
      [[maybe_unused]] const auto taken = ::write(to_, bytes.data(), bytes.size());
      frames_.pop_front();
    }
  }

  /// How long no frame arrives.
  Clock::duration pause() const {
    if (frames_.empty()) return std::chrono::hours(1);
    return std::max(frames_.front().arrives - Clock::now(), Clock::duration(0));
  }

 private:
  struct Frame {
    Clock::time_point arrives;
    std::vector<char> bytes;
  };

  Clock::duration sending(std::size_t bytes) const {
    if (!link_.megabits_per_second) return Clock::duration(0);
    return std::chrono::nanoseconds(std::llround(8e3 * static_cast<double>(bytes) / *link_.megabits_per_second));
  }

  int from_, to_;
  Link link_;
  Clock::time_point free_{};  // when all that was taken has been sent
  std::deque<Frame> frames_;
  std::array<char, 1 << 17> buffer_{};
};

/// Moves frames between two file descriptors, both ways, until one of them is gone, `until` is, or there is something to
/// read from `until`.
inline void relay(int first, int second, const Link& link, int until) {
  std::array<OneWay, 2> ways{OneWay(first, second, link), OneWay(second, first, link)};
  std::array<pollfd, 3> events{pollfd{first, POLLIN, 0}, pollfd{second, POLLIN, 0}, pollfd{until, POLLIN, 0}};
  const auto gone = [](const pollfd& event) { return (event.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0; };
  while (events[2].revents == 0 && !gone(events[0]) && !gone(events[1])) {
    const auto pause = std::min(ways[0].pause(), ways[1].pause());
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(pause);
    const timespec timeout{seconds.count(), std::chrono::nanoseconds(pause - seconds).count()};
    ::ppoll(events.data(), events.size(), &timeout, nullptr);
    for (std::size_t way = 0; way < ways.size(); ++way) {
      if (events[way].revents != 0) ways[way].take();
      ways[way].deliver();
    }
  }
}

}  // namespace bench
