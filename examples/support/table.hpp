// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace support {

/// A table in aligned columns, for standard output. One that is too wide stands there in parts, one below the other; each
/// begins with the columns that say what a row is.
class Table {
 public:
  /// The first `keys` columns say what a row is.
  explicit Table(std::vector<std::string> head, std::size_t keys = 1) : keys_(keys), rows_{std::move(head)} {}
  /// A row has as many cells as the head.
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  /// No line is longer than the terminal is wide, or than 80 if there is none; a cell that alone would be goes on in the
  /// next line.
  std::string text() const;

 private:
  std::size_t keys_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace support
