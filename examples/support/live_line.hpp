// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>

namespace support {

/// A line of progress that renews itself on standard error, five times a second at most; nothing where that is no
/// terminal.
class LiveLine {
 public:
  explicit LiveLine(bool quiet) : live_(!quiet && ::isatty(STDERR_FILENO)) {}
  ~LiveLine() { clear(); }
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;

  /// `text()` is asked for only when it is shown.
  template <class Text>
  void show(const Text& text) {
    const auto now = std::chrono::steady_clock::now();
    if (!live_ || (shows_ && now - shown_ < std::chrono::milliseconds(200))) return;
    shown_ = now;
    shows_ = true;
    std::fputs(("\r\033[K" + std::string(text())).c_str(), stderr);
  }
  void clear() {
    if (shows_) std::fputs("\r\033[K", stderr);
    shows_ = false;
  }

 private:
  bool live_, shows_ = false;
  std::chrono::steady_clock::time_point shown_ = {};
};

}  // namespace support
