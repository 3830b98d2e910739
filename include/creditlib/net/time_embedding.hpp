// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cmath>
#include <creditlib/error.hpp>
#include <cstdint>

namespace creditlib {

/// Embeds a depth t, 0 at the input and 1 at the output, as a vector of `size` numbers: sines, then cosines.
///
///     sin(t w_i), cos(t w_i),    w_i = 10000^(-i / n),  i = 0..n-1,  n = size / 2
///
/// - Computed on the device of `options`, without waiting for it.
/// - Throws Error unless size is even and at least 2.
/// - Source: Vaswani et al., "Attention is all you need", NeurIPS 2017.
inline torch::Tensor time_embedding(double t, std::int64_t size, const torch::TensorOptions& options) {
  if (size < 2 || size % 2 != 0) {
    detail::fail("time_embedding: size is ", size, ", expected an even number of at least 2: sines and cosines.");
  }
  const std::int64_t half = size / 2;
  const auto angles = torch::arange(half, options).mul_(-std::log(10000.0) / static_cast<double>(half)).exp_().mul_(t);
  return torch::cat({angles.sin(), angles.cos()});
}

}  // namespace creditlib
