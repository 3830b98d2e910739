// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/detail/expect.hpp>
#include <creditlib/optim/clip.hpp>
#include <creditlib/parameter_parts.hpp>
#include <numeric>
#include <vector>

namespace creditlib::clip {

/// Scales all gradients together, embed and readout included, so that their Euclidean norm is at most `norm`, as
/// torch.nn.utils.clip_grad_norm_ does.
struct ByAll {
  double norm = 1;

  void operator()(std::vector<torch::Tensor>& gradients, const ParameterParts&) const {
    std::vector<std::size_t> all(gradients.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    optim::clip_norm(gradients, all, norm);
  }
  void check() const { detail::expect::positive("clip::ByAll", "norm", norm); }
};

}  // namespace creditlib::clip
