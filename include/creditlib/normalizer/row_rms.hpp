// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/factored_squares.hpp>
#include <creditlib/factored_credit.hpp>

namespace creditlib {

/// Divides each sample's credit by its root mean square over all other dimensions.
///
///     a_b / (sqrt(mean(a_b^2)) + eps)
///
/// eps is absolute: credit with an RMS far below eps is no longer normalized but scaled by 1/eps. A rule defined on
/// gradients of the batch mean under some eps needs eps * B here: credit is per sample, so B times as large.
struct RowRms {
  double eps = 1e-6;

  torch::Tensor operator()(const torch::Tensor& a) const {
    if (a.dim() == 2) return a / (a.square().mean(1, /*keepdim=*/true).sqrt_().add_(eps));
    const auto rms = a.flatten(1).square().mean(1).sqrt_().add_(eps);
    std::vector<std::int64_t> per_sample(static_cast<std::size_t>(a.dim()), 1);
    per_sample[0] = a.size(0);
    return a / rms.view(per_sample);
  }

  /// The same for credit kept as factors: with G = right^T right, ||a_b||^2 = scale_b^2 left_b G left_b^T.
  FactoredCredit factored(const FactoredCredit& a) const {
    auto rms = detail::factored_squares(a.left, a.right).div_(static_cast<double>(a.right.size(0))).sqrt_();
    if (a.scale.defined()) rms.mul_(a.scale.abs());
    return a.scaled(rms.add_(eps).reciprocal_());
  }
};

}  // namespace creditlib
