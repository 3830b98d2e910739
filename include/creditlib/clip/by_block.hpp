// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/detail/expect.hpp>
#include <creditlib/optim/clip.hpp>
#include <creditlib/parameter_parts.hpp>
#include <vector>

namespace creditlib::clip {

/// Scales each block's gradients together so that their Euclidean norm is at most `norm`; never the embed's or the
/// readout's. TrainerOptions::clip_norm is shorthand for it.
struct ByBlock {
  double norm = 1;

  void operator()(std::vector<torch::Tensor>& gradients, const ParameterParts& parts) const {
    optim::clip_norms(gradients, parts.blocks, norm);
  }
  void check() const { detail::expect::positive("clip::ByBlock", "norm", norm); }
};

}  // namespace creditlib::clip
