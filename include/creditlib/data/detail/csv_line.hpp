// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// The fields of one line of a CSV file (RFC 4180), without the blanks around them. A field in double quotes may hold
/// separators, and quotes, each as two. Nothing if a quote is not closed, or if something other than a separator
/// follows a closed one.
inline std::optional<std::vector<std::string>> csv_fields(std::string_view line, char separator) {
  const auto blank = [&](char c) { return (c == ' ' || c == '\t') && c != separator; };
  std::vector<std::string> fields;
  for (std::size_t at = 0;; ++at) {  // at: the beginning of a field
    while (at < line.size() && blank(line[at])) ++at;
    std::string field;
    if (at < line.size() && line[at] == '"') {
      for (++at;; ++at) {
        if (at == line.size()) return std::nullopt;
        if (line[at] == '"' && (++at == line.size() || line[at] != '"')) break;
        field += line[at];
      }
      while (at < line.size() && blank(line[at])) ++at;
      if (at < line.size() && line[at] != separator) return std::nullopt;
    } else {
      while (at < line.size() && line[at] != separator) field += line[at++];
      while (!field.empty() && blank(field.back())) field.pop_back();
    }
    fields.push_back(std::move(field));
    if (at >= line.size()) return fields;
  }
}

/// A finite number in decimal digits with a point, in any locale; nothing if the text is anything else.
inline std::optional<double> csv_number(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

}  // namespace creditlib::detail
