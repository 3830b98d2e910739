// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/detail/team.hpp>
#include <cstdint>

/// Tensors for loops over rows of float32.
namespace creditlib::detail {

/// Whether a loop can read x instead of LibTorch's operators: no graph is to be recorded.
inline bool in_rows_of_float(const torch::Tensor& x) {
  const bool recorded = x.requires_grad() && torch::GradMode::is_enabled();
  return x.is_cpu() && x.scalar_type() == torch::kFloat32 && x.is_contiguous() && !recorded;
}
inline bool in_rows_or_none(const torch::Tensor& x) { return !x.defined() || in_rows_of_float(x); }
inline const float* floats_or_null(const torch::Tensor& x) { return x.defined() ? x.data_ptr<float>() : nullptr; }

/// Calls work(first, count) on ranges of `rows` rows, of `elements` elements in all, on as many threads as these are worth.
template <class Work>
void on_rows(std::int64_t rows, std::int64_t elements, const Work& work) {
  constexpr std::int64_t fewest = 65536;
  const auto shares = std::max<std::int64_t>(1, std::min({elements / fewest, team_size(), rows}));
  in_shares(shares, [&](std::int64_t i) {
    const auto first = rows * i / shares;
    work(first, rows * (i + 1) / shares - first);
  });
}

}  // namespace creditlib::detail
