// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

namespace creditlib::detail {

/// What rows of these norms are multiplied by to get the wanted ones; 0 for rows of zeros.
inline torch::Tensor factor_of_norms(const torch::Tensor& wanted, const torch::Tensor& norms) {
  return (wanted / norms).where(norms > 0, 0);
}

/// Each row of a scaled to the norm of the same row of e.
inline torch::Tensor with_norms_of(const torch::Tensor& e, const torch::Tensor& a) {
  return a * factor_of_norms(e.norm(2, -1, /*keepdim=*/true), a.norm(2, -1, /*keepdim=*/true));
}

}  // namespace creditlib::detail
