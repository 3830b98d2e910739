// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/data/standardize.hpp>
#include <creditlib/data/table.hpp>
#include <creditlib/data/tensors.hpp>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace regression {

/// Rows to train with and rows to test with. Inputs (rows, columns) and targets (rows, 1) are float32, standardized by
/// the training rows.
struct Split {
  creditlib::data::Tensors train, test;
  creditlib::data::Standardize unit;  ///< of the targets: unit.inverse gives them in the table's unit
  torch::Tensor test_target;          ///< (rows, 1), float64, in the table's unit
};

/// How close predictions are to the targets of the rows to test with.
struct Score {
  double rmse;  ///< the root of the mean squared error, in the target's unit
  double r2;    ///< 1 - the squared error / the squared distance of the targets to their mean
};

/// Scores standardized predictions (rows, 1).
Score score(const Split& split, const torch::Tensor& predicted);

/// A file's table of numbers, one of whose columns is to be predicted from the others.
class Table {
 public:
  /// `target` names the column to predict; if it is empty, the last one is.
  ///
  /// Throws Error for what read_csv refuses, for a name that is not a column's, and for a table of one column.
  Table(const std::filesystem::path& path, const std::string& target);

  const std::string& target() const { return target_; }
  const std::vector<std::string>& inputs() const { return inputs_.columns; }
  std::int64_t rows() const { return inputs_.values.size(0); }
  /// A checksum of all numbers.
  const std::string& checksum() const { return checksum_; }

  /// This part of the rows, drawn from `seed`, to test with, and the others to train with.
  ///
  /// Throws Error if one of them has fewer than two rows, or if all targets to test with are equal.
  Split split(double test_part, std::int64_t seed) const;

 private:
  std::string target_, checksum_;
  creditlib::data::Table inputs_;
  torch::Tensor targets_;
};

}  // namespace regression
