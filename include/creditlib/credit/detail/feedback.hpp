// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/bind_context.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace creditlib::detail {

/// A rule's own copy of an explicit feedback matrix. Throws Error, naming the matrix, if it is not dense or has no
/// numbers (meta tensors), if it does not have the shape expected of it, and if a number is not finite in the model's
/// dtype.
inline torch::Tensor explicit_feedback(const std::string& rule, std::size_t index, const torch::Tensor& matrix,
                                       torch::IntArrayRef expected, const std::string& meaning,
                                       const BindContext& context) {
  if (!matrix.defined() || matrix.sizes() != expected) {
    fail(rule, ": feedback ", index, " is ", matrix.defined() ? shape_text(matrix.sizes()) : "undefined", ", expected ",
         shape_text(expected), ": ", meaning, ".");
  }
  if (!matrix.is_floating_point()) {
    fail(rule, ": feedback ", index, " is ", dtype_text(matrix.scalar_type()), ", expected a floating-point matrix.");
  }
  if (matrix.layout() != torch::kStrided)
    fail(rule, ": feedback ", index, " is sparse, expected a dense matrix; convert it with to_dense().");
  if (matrix.is_meta())
    fail(rule, ": feedback ", index, " is on meta and has no numbers, expected a matrix on a device.");
  const auto copy =
      matrix.detach().to(context.device, context.dtype, /*non_blocking=*/false, /*copy=*/true).contiguous();
  if (!copy.isfinite().all().item<bool>()) {
    fail(rule, ": feedback ", index, " has numbers that are NaN or infinite in ", dtype_text(context.dtype),
         ", expected finite ones.");
  }
  return copy;
}

inline void check_feedback_count(const std::string& rule, std::size_t given, std::size_t expected,
                                 const std::string& meaning) {
  if (given != expected)
    fail(rule, ": ", given, " feedback matrices were given, expected ", expected, ": ", meaning, ".");
}

}  // namespace creditlib::detail
