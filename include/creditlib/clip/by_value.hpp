// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/detail/expect.hpp>
#include <creditlib/parameter_parts.hpp>
#include <vector>

namespace creditlib::clip {

/// Clamps every number of every gradient to -value..value, as torch.nn.utils.clip_grad_value_ does.
struct ByValue {
  double value = 1;

  void operator()(std::vector<torch::Tensor>& gradients, const ParameterParts&) const {
    const torch::NoGradGuard no_grad;
    for (auto& gradient : gradients) {
      if (gradient.defined()) gradient = gradient.clamp(-value, value);
    }
  }
  void check() const { detail::expect::positive("clip::ByValue", "value", value); }
};

}  // namespace creditlib::clip
