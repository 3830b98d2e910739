// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace creditlib::detail::laws {

using Shape = std::vector<std::int64_t>;

/// Sizes of hidden states, and of credit with one value per channel that broadcasts to them.
inline const std::vector<Shape> state_shapes{{5, 6}, {5, 4, 6}, {5, 3, 2, 4}};
inline const std::vector<Shape> channel_shapes{{5, 6}, {5, 1, 6}, {5, 3, 1, 1}};

/// The samples 1..3 of a batch.
inline torch::Tensor part_of(const torch::Tensor& batch) { return batch.narrow(0, 1, 3); }

}  // namespace creditlib::detail::laws
