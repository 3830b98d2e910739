// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/data/detail/csv_line.hpp>
#include <creditlib/data/table.hpp>
#include <creditlib/error.hpp>
#include <creditlib/io/gzip.hpp>
#include <creditlib/io/input_file.hpp>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace creditlib {
namespace data {

/// How read_csv reads a file.
struct CsvOptions {
  char separator = ',';  ///< ';' or '\t', for example
  /// Whether the first line names the columns. By default it does if none of its fields is a number.
  std::optional<bool> header = std::nullopt;
  std::optional<double> fill = std::nullopt;  ///< the value of a missing field, also NAN; by default one is an Error
  std::vector<std::string> missing = {"", "NA", "N/A", "NaN", "nan", "null", "?"};  ///< fields that hold no value
};

}  // namespace data

namespace detail {

/// Whether these fields of a file's first line name columns.
inline bool is_csv_header(const std::vector<std::string>& fields, const data::CsvOptions& options,
                          const io::InputFile& file) {
  if (options.header) return *options.header;
  const auto is_missing = [&](const auto& field) { return std::ranges::count(options.missing, field) > 0; };
  const auto is_number = [](const auto& field) { return csv_number(field).has_value(); };
  const auto numbers = std::ranges::count_if(fields, is_number);
  const auto missing = std::ranges::count_if(fields, is_missing);
  const auto names = std::ranges::ssize(fields) - numbers - missing;
  if (names > 0 && numbers > 0) {
    const auto name = std::ranges::find_if(fields, [&](const auto& f) { return !is_number(f) && !is_missing(f); });
    file.fail("has numbers in line 1, and \"", *name,
              "\", which is none: say with CsvOptions::header whether the line ", "names the columns");
  }
  return names > 0;
}

}  // namespace detail

namespace data {

/// Reads a file of comma-separated numbers: a float64 tensor (rows, columns) and the columns' names.
///
///     const auto table = data::read_csv("houses.csv");
///
/// - The first line names the columns if none of its fields is a number (see CsvOptions::header); without names they
///   are "0", "1", and so on.
/// - Numbers are written as 12, -0.5 or 1e-3, in any locale; blanks around them and double quotes are left out.
/// - Lines end with a line feed, or a carriage return and a line feed. A byte order mark and empty lines at the end are
///   skipped. gzip is decompressed, as by read_idx.
/// - Throws Error, naming the file, the line and the column, for a field that is not a finite number, for a missing
///   field without CsvOptions::fill, and for a quote that is not closed on its line; for a line of another number of
///   fields than the first; and for a file without numbers.
/// - Source: RFC 4180, "Common format and MIME type for CSV files", https://www.rfc-editor.org/rfc/rfc4180.
inline Table read_csv(const std::filesystem::path& path, const CsvOptions& options = {}) {
  io::InputFile file("read_csv", path);
  if (std::string_view("\"\n\r.").find(options.separator) != std::string_view::npos) {
    file.fail("cannot be separated by a quote, a period or a line's end: set another CsvOptions::separator");
  }
  std::string bytes = file.read_text(file.size());
  if (bytes.starts_with("\x1f\x8b")) bytes = io::gunzip(path);
  if (bytes.starts_with("\xff\xfe") || bytes.starts_with("\xfe\xff")) file.fail("is UTF-16: save it as UTF-8");
  std::string_view rest = bytes;
  if (rest.starts_with("\xef\xbb\xbf")) rest.remove_prefix(3);
  while (!rest.empty() && (rest.back() == '\n' || rest.back() == '\r')) rest.remove_suffix(1);
  if (rest.empty()) file.fail("is empty, expected lines of numbers");

  Table table;
  std::vector<double> values;
  for (std::int64_t number = 1; !rest.empty(); ++number) {
    const auto end = rest.find('\n');
    auto line = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const auto fields = detail::csv_fields(line, options.separator);
    if (!fields) file.fail("has a quote in line ", number, " that does not enclose a field of that line");
    if (number == 1) {
      const bool named = detail::is_csv_header(*fields, options, file);
      for (std::size_t i = 0; i < fields->size(); ++i) table.columns.push_back(named ? (*fields)[i] : c10::str(i));
      if (named) continue;
    }
    if (fields->size() != table.columns.size()) {
      file.fail("has ", fields->size(), fields->size() == 1 ? " field in line " : " fields in line ", number,
                ", expected ", table.columns.size(), ", as in line 1, separated by '", options.separator, "'");
    }
    for (std::size_t i = 0; i < fields->size(); ++i) {
      const auto& field = (*fields)[i];
      if (std::ranges::count(options.missing, field) > 0) {
        if (!options.fill) {
          file.fail("has no value in line ", number, ", column \"", table.columns[i], "\" (\"", field,
                    "\"): add it, drop the line, or set CsvOptions::fill");
        }
        values.push_back(*options.fill);
        continue;
      }
      const auto value = detail::csv_number(field);
      if (!value) {
        file.fail("has \"", field, "\" in line ", number, ", column \"", table.columns[i],
                  "\", expected a finite number such as -0.5 or 1e-3");
      }
      values.push_back(*value);
    }
  }
  if (values.empty()) file.fail("has the names of columns alone, expected lines of numbers");
  table.values = detail::translated([&] {
    return torch::tensor(values, torch::kFloat64).view({-1, static_cast<std::int64_t>(table.columns.size())});
  });
  return table;
}

}  // namespace data
}  // namespace creditlib
