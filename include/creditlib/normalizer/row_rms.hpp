// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/factored_squares.hpp>
#include <creditlib/detail/float_rows.hpp>
#include <creditlib/factored_credit.hpp>
#include <creditlib/normalizer/detail/rms_rows.hpp>
#include <cstdint>
#include <vector>

namespace creditlib {

/// Divides each sample's credit by its root mean square over all other dimensions.
///
///     a_b / (sqrt(mean(a_b^2)) + eps)
///
/// eps is absolute: credit with an RMS far below eps is no longer normalized but scaled by 1/eps. A rule defined on
/// gradients of the batch mean under some eps needs eps * B here: credit is per sample, so B times as large.
struct RowRms {
  /// The credits of several states may be given as the samples of one tensor.
  static constexpr bool samples_of_all_states = true;

  double eps = 1e-6;

  torch::Tensor operator()(const torch::Tensor& a) const {
    if (a.dim() > 1 && a.numel() > 0 && detail::in_rows_of_float(a)) {
      auto unit = torch::empty_like(a);
      const auto width = a.numel() / a.size(0);
      detail::on_rows(a.size(0), a.numel(), [&](std::int64_t first, std::int64_t count) {
        detail::rows::unit_rms(a.data_ptr<float>() + first * width, count, width, static_cast<float>(eps),
                               unit.mutable_data_ptr<float>() + first * width);
      });
      return unit;
    }
    std::vector<std::int64_t> per_sample(static_cast<std::size_t>(a.dim()), 1);
    if (!per_sample.empty()) per_sample[0] = a.size(0);
    const auto flat = a.flatten(1);
    const auto root_of_width = std::sqrt(static_cast<double>(flat.size(1)));
    const auto norm = at::linalg_vector_norm(flat, 2, {1}, /*keepdim=*/true);
    return a / (norm / root_of_width).add_(eps).view(per_sample);
  }

  /// The same for credit kept as factors: with G = right^T right, ||a_b||^2 = scale_b^2 left_b G left_b^T.
  FactoredCredit factored(const FactoredCredit& a) const {
    auto squares = detail::factored_squares(a.left, a.right);
    const auto width = a.right.size(0);
    if (detail::in_rows_of_float(squares) && detail::in_rows_or_none(a.scale)) {
      detail::rows::inverse_rms(squares.mutable_data_ptr<float>(), detail::floats_or_null(a.scale), squares.size(0),
                                width, static_cast<float>(eps));
      return a.scaled(squares);
    }
    auto rms = squares.div_(static_cast<double>(width)).sqrt_();
    if (a.scale.defined()) rms.mul_(a.scale.abs());
    return a.scaled(rms.add_(eps).reciprocal_());
  }
};

}  // namespace creditlib
