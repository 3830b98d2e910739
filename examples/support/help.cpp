// SPDX-License-Identifier: Apache-2.0
#include "support/help.hpp"

#include <unistd.h>

#include <cstdlib>
#include <sstream>
#include <utility>

#include "support/live_line.hpp"

namespace support {
namespace {

std::size_t columns() {
  const char* const said = std::getenv("COLUMNS");
  int wanted = said == nullptr ? 0 : std::atoi(said);
  if (wanted <= 0) wanted = columns_of(STDOUT_FILENO);
  return wanted <= 0 ? 80 : static_cast<std::size_t>(wanted);
}

}  // namespace

std::string Help::make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const {
  std::istringstream lines(CLI::Formatter::make_help(app, std::move(name), mode));
  const auto most = columns();
  std::string text;
  for (std::string line; std::getline(lines, line);) text += broken(line, most) + "\n";
  return text;
}

std::string Help::broken(std::string line, std::size_t columns) const {
  const std::size_t indent = line.starts_with("  ") ? get_column_width() : 0;
  std::string done;
  while (line.size() > columns) {
    std::size_t end = columns;
    while (end > indent && line[end] != ' ' && line[end - 1] != ',') --end;
    if (end <= indent) break;  // one long word
    const auto rest = line.find_first_not_of(' ', end);
    if (rest == std::string::npos) break;
    done += line.substr(0, line.find_last_not_of(' ', end - 1) + 1) + "\n";
    line = std::string(indent, ' ') + line.substr(rest);
  }
  return done + line;
}

}  // namespace support
