// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <cstdint>

namespace creditlib::data {

/// Shifts and scales each column to mean 0 and deviation 1, measured on the training rows.
///
///     x = (row - mean) / deviation
///
///     const data::Standardize standardize(train);
///     const auto x = standardize(test);           // by the training rows' mean and deviation
///     const auto price = of_prices.inverse(y);    // back to the unit of the rows
///
/// The deviation is sqrt(mean((row - mean)^2)). A column of one value has the deviation 1, so that it becomes 0.
class Standardize {
 public:
  /// Takes training rows (N, columns), floating-point.
  ///
  /// Throws Error if they have another shape or dtype, no row, or a value that is not finite.
  explicit Standardize(const torch::Tensor& rows) {
    if (!rows.defined() || rows.dim() != 2 || rows.numel() == 0 || !torch::isFloatingType(rows.scalar_type())) {
      detail::fail("Standardize: rows are ", detail::tensor_text(rows),
                   ", expected (N, columns) of a floating-point dtype, at least one of each.");
    }
    detail::translated([&] {
      const auto wrong = rows.isfinite().logical_not().nonzero();
      if (wrong.size(0) > 0) {
        detail::fail("Standardize: row ", wrong[0][0].item<std::int64_t>(), ", column ",
                     wrong[0][1].item<std::int64_t>(), " is not finite: fill or drop missing values first.");
      }
      const auto wide = rows.detach().to(torch::kFloat64);
      mean_ = wide.mean(0);
      const auto deviation = wide.sub(mean_).square().mean(0).sqrt();
      // Rounding leaves a constant column a deviation that is not exactly 0, so it is known by its values.
      deviation_ = torch::where(wide.amax(0) == wide.amin(0), torch::ones_like(deviation), deviation);
    });
  }

  const torch::Tensor& mean() const { return mean_; }            ///< (columns), float64
  const torch::Tensor& deviation() const { return deviation_; }  ///< (columns), float64

  /// Standardizes rows (..., columns), in their dtype. Throws Error for another number of columns.
  torch::Tensor operator()(const torch::Tensor& rows) const {
    check(rows);
    return detail::translated([&] { return rows.sub(mean_).div(deviation_).to(rows.scalar_type()); });
  }

  /// The rows that standardized ones came from. Throws Error for another number of columns.
  torch::Tensor inverse(const torch::Tensor& rows) const {
    check(rows);
    return detail::translated([&] { return rows.mul(deviation_).add(mean_).to(rows.scalar_type()); });
  }

 private:
  void check(const torch::Tensor& rows) const {
    if (!rows.defined() || rows.dim() == 0 || rows.size(-1) != mean_.size(0) ||
        !torch::isFloatingType(rows.scalar_type())) {
      detail::fail("Standardize: rows are ", detail::tensor_text(rows), ", expected (..., ", mean_.size(0),
                   ") of a floating-point dtype.");
    }
  }

  torch::Tensor mean_, deviation_;
};

}  // namespace creditlib::data
