// SPDX-License-Identifier: Apache-2.0
#include "support/live_line.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <creditlib/error.hpp>

#include "support/processes.hpp"

namespace support {
namespace {

std::FILE* json_lines = nullptr;  // standard output as it was, after log_as_json()

std::string clock_text(double seconds) {
  const auto whole = static_cast<long>(seconds + 0.5);
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

int columns_of(int file) {
  if (!::isatty(file)) return 0;
  winsize size{};
  return ::ioctl(file, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string fitted(const std::string& title, const std::vector<std::string>& fields, int columns) {
  std::string line = title;
  const char* between = ": ";
  for (const auto& field : fields) {
    if (columns > 0 && line.size() + 2 + field.size() > static_cast<std::size_t>(columns)) break;
    line += between + field;
    between = ", ";
  }
  return columns > 0 ? line.substr(0, static_cast<std::size_t>(columns)) : line;
}

LiveLine::LiveLine(bool quiet) : live_(!quiet && leads() && ::isatty(STDERR_FILENO)) {}

double Pace::seconds_per_step(std::int64_t done) const {
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start_;
  return spent.count() / static_cast<double>(std::max<std::int64_t>(1, done - first_));
}

std::string Pace::rate(std::int64_t done) const {
  const double seconds = seconds_per_step(done);
  return seconds < 1 ? fmt::format("{:.3g} steps/s", 1 / seconds) : fmt::format("{:.3g} s/step", seconds);
}

std::string Pace::left(std::int64_t done) const {
  return clock_text(seconds_per_step(done) * static_cast<double>(all_ - done)) + " left";
}

void log_as_json() {
  if (json_lines != nullptr) return;
  std::fflush(stdout);
  const int copy = ::dup(STDOUT_FILENO);
  json_lines = copy < 0 ? nullptr : ::fdopen(copy, "w");
  if (json_lines != nullptr && !leads()) return;  // where standard output goes nowhere, so does all
  if (json_lines == nullptr || ::dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
    throw creditlib::Error("--log-format json: standard output or standard error is closed.");
}

bool logs_json() { return json_lines != nullptr; }

void say_epoch(const std::string& title, const nlohmann::ordered_json& entry, const std::vector<std::string>& fields) {
  std::FILE* const out = json_lines ? json_lines : stdout;
  if (json_lines != nullptr) {
    nlohmann::ordered_json line{{"run", title}};
    line.update(entry);
    std::fputs((line.dump() + "\n").c_str(), out);
  } else {
    std::fputs((fitted(title, fields, columns_of(STDOUT_FILENO)) + "\n").c_str(), out);
  }
  std::fflush(out);
}

}  // namespace support
