// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/concepts.hpp>
#include <creditlib/network/detail/run_block.hpp>
#include <cstdint>

namespace creditlib::detail {

/// The network's logits if h_l = h: runs blocks l..L-1 and the readout, in the model's present mode. Throws Error if a
/// block modifies its input in place.
template <BlockModel Model>
torch::Tensor forward_from(Model& model, std::int64_t l, torch::Tensor h) {
  const std::int64_t blocks = model->blocks();
  for (; l < blocks; ++l) h = join_of(model, l, h, branch_of(model, l, h));
  return logits_of(model, h);
}

}  // namespace creditlib::detail
