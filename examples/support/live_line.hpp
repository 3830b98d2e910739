// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

/// What programs say while they train.
namespace support {

/// Columns of the terminal behind a file descriptor; 0 if it is no terminal.
int columns_of(int file);

/// "title: field, field": as many of the fields, the first ones first, as fit into so many columns; all if those are 0.
std::string fitted(const std::string& title, const std::vector<std::string>& fields, int columns);

/// A line of progress that renews itself on standard error, five times a second at most; nothing where that is no
/// terminal.
class LiveLine {
 public:
  explicit LiveLine(bool quiet);
  ~LiveLine() { clear(); }
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;

  /// `fields()`, the most important first, are asked for only when they are shown.
  template <class Fields>
  void show(const std::string& title, const Fields& fields) {
    const auto now = std::chrono::steady_clock::now();
    if (!live_ || (shows_ && now - shown_ < std::chrono::milliseconds(200))) return;
    shown_ = now;
    shows_ = true;
    std::fputs(("\r\033[K" + fitted(title, fields(), columns_of(2) - 1)).c_str(), stderr);
  }
  void clear() {
    if (shows_) std::fputs("\r\033[K", stderr);
    shows_ = false;
  }

 private:
  bool live_, shows_ = false;
  std::chrono::steady_clock::time_point shown_ = {};
};

/// How fast a run's steps are, and how long the rest of them takes.
class Pace {
 public:
  /// The run has `all` steps, of which `done` are made already.
  Pace(std::int64_t all, std::int64_t done) : all_(all), first_(done) {}

  /// "345 steps/s", "0:12 left" after so many of all steps.
  std::string rate(std::int64_t done) const;
  std::string left(std::int64_t done) const;

 private:
  double seconds_per_step(std::int64_t done) const;

  std::int64_t all_, first_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// --log-format json: from now on standard output has one JSON object per epoch and line, and what is said to people is
/// on standard error.
void log_as_json();
bool logs_json();

/// An epoch's line on standard output: `entry` after the run's title as JSON, or the fields as text, those that fit if
/// that is a terminal.
void say_epoch(const std::string& title, const nlohmann::ordered_json& entry, const std::vector<std::string>& fields);

}  // namespace support
