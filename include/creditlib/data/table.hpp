// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/error.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace creditlib::data {

/// Numbers in rows and named columns, as read_csv gives them.
///
///     const auto rooms = table.without({"price"}).values, price = table.only({"price"}).values;
///     const data::Tensors houses{.inputs = rooms.to(torch::kFloat32), .targets = price.to(torch::kFloat32)};
struct Table {
  torch::Tensor values = {};              ///< (rows, columns), float64
  std::vector<std::string> columns = {};  ///< a name per column

  /// The table of these columns, in this order. Throws Error for a name that no column or more than one column has.
  Table only(const std::vector<std::string>& names) const {
    std::vector<std::int64_t> picked;
    for (const auto& name : names) picked.push_back(index(name));
    return take(picked);
  }

  /// The table of all other columns. Throws Error for a name that no column or more than one column has.
  Table without(const std::vector<std::string>& names) const {
    std::vector<std::int64_t> dropped, picked;
    for (const auto& name : names) dropped.push_back(index(name));
    for (std::int64_t i = 0; i < values.size(1); ++i) {
      if (std::find(dropped.begin(), dropped.end(), i) == dropped.end()) picked.push_back(i);
    }
    return take(picked);
  }

  /// Which column has this name, counted from 0. Throws Error if none or more than one has.
  std::int64_t index(const std::string& name) const {
    const auto count = std::count(columns.begin(), columns.end(), name);
    if (count != 1) {
      std::string all;
      for (const auto& column : columns) all += (all.empty() ? "\"" : ", \"") + column + "\"";
      detail::fail("Table: ", count, " columns are named \"", name, "\", expected one; the columns are ", all, ".");
    }
    return std::find(columns.begin(), columns.end(), name) - columns.begin();
  }

 private:
  Table take(const std::vector<std::int64_t>& picked) const {
    Table part{.values = values.index_select(1, torch::tensor(picked, torch::kInt64)), .columns = {}};
    for (const auto i : picked) part.columns.push_back(columns[static_cast<std::size_t>(i)]);
    return part;
  }
};

}  // namespace creditlib::data
