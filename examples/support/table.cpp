// SPDX-License-Identifier: Apache-2.0
#include "support/table.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>

#include "support/live_line.hpp"

namespace support {
namespace {

using Widths = std::vector<std::size_t>;
using Columns = std::vector<std::size_t>;  // by their numbers

/// The lines of a cell: broken in front of spaces, which lines of fixed columns keep aligned.
std::vector<std::string> lines_of(std::string text, std::size_t width) {
  std::vector<std::string> lines;
  while (text.size() > width) {
    auto end = text.rfind(' ', width);
    while (end != std::string::npos && end > 0 && text[end - 1] == ' ') --end;
    if (end == std::string::npos || end == 0) end = width;
    lines.push_back(text.substr(0, end));
    text.erase(0, end);
  }
  lines.push_back(text);
  return lines;
}

std::size_t width_of(const Columns& columns, const Widths& widths) {
  std::size_t sum = 2 * (columns.size() - 1);
  for (const auto column : columns) sum += widths[column];
  return sum;
}

/// The columns in parts that are at most so wide, each behind the keys.
std::vector<Columns> parts_within(std::size_t limit, std::size_t keys, const Widths& widths) {
  Columns key(keys);
  std::iota(key.begin(), key.end(), std::size_t{0});
  std::vector<Columns> parts{key};
  for (std::size_t column = keys; column < widths.size(); ++column) {
    auto wider = parts.back();
    wider.push_back(column);
    if (width_of(wider, widths) > limit && parts.back().size() > keys) {
      parts.push_back(key);
      parts.back().push_back(column);
    } else {
      parts.back() = std::move(wider);
    }
  }
  return parts;
}

/// As few parts as fit into `limit`, about equally wide.
std::vector<Columns> parts_of(std::size_t limit, std::size_t keys, const Widths& widths) {
  auto parts = parts_within(limit, keys, widths);
  while (limit-- > 0) {
    auto narrower = parts_within(limit, keys, widths);
    if (narrower.size() > parts.size()) break;
    parts = std::move(narrower);
    const auto fits = [&](const Columns& part) { return width_of(part, widths) <= limit; };
    if (!std::all_of(parts.begin(), parts.end(), fits)) break;  // a single column that is wider
  }
  return parts;
}

std::string text_of(const std::vector<std::vector<std::string>>& rows, const Columns& columns, const Widths& widths) {
  std::string text;
  for (const auto& row : rows) {
    std::vector<std::vector<std::string>> cells;
    std::size_t height = 1;
    for (const auto column : columns) {
      cells.push_back(lines_of(row[column], widths[column]));
      height = std::max(height, cells.back().size());
    }
    for (std::size_t i = 0; i < height; ++i) {
      std::string line;
      for (std::size_t c = 0; c < cells.size(); ++c)
        line += fmt::format("{:<{}}  ", i < cells[c].size() ? cells[c][i] : "", widths[columns[c]]);
      line.erase(line.find_last_not_of(' ') + 1);
      text += line + "\n";
    }
  }
  return text;
}

}  // namespace

std::string Table::text() const {
  const auto terminal = columns_of(STDOUT_FILENO);
  const std::size_t limit = terminal > 0 ? static_cast<std::size_t>(terminal) : 80;
  Widths widths(rows_[0].size());
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::size_t before = 0;
  for (std::size_t i = 0; i < keys_; ++i) before += widths[i] + 2;
  for (std::size_t i = keys_; i < widths.size(); ++i)
    widths[i] = std::min(widths[i], std::max<std::size_t>(limit, before + 20) - before);
  std::string text;
  for (const auto& part : parts_of(limit, keys_, widths))
    text += (text.empty() ? "" : "\n") + text_of(rows_, part, widths);
  return text;
}

}  // namespace support
