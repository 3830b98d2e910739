// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/concepts.hpp>
#include <creditlib/parameter_parts.hpp>
#include <creditlib/testing/detail/compare.hpp>
#include <creditlib/testing/report.hpp>
#include <vector>

/// The laws of clips.
namespace creditlib::detail::laws {

/// Five parameters of an embed, two blocks and a readout.
inline ParameterParts parts_to_clip() {
  ParameterParts parts;
  for (const char* name : {"embed.weight", "blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "readout.weight"}) {
    parts.names.emplace_back(name);
    parts.all.push_back(torch::zeros({3, 2}, torch::kFloat64));
  }
  parts.embed = {0};
  parts.blocks = {{1, 2}, {3}};
  parts.readout = {4};
  return parts;
}

/// Gradients keep their shapes and dtypes, those that are undefined stay so, and the tensors are not written into.
template <class C>
Verdict clip_keeps_the_form(const C& clip) {
  const auto parts = parts_to_clip();
  for (const double scale : {1e-3, 1.0, 1e3}) {
    std::vector<torch::Tensor> gradients;
    for (std::size_t i = 0; i < parts.all.size(); ++i) {
      gradients.push_back((torch::arange(6, torch::kFloat64) + static_cast<double>(i)).sin().view({3, 2}) * scale);
    }
    gradients[2].reset();  // of a frozen parameter
    const auto held_tensors = gradients;
    const auto before = copies(gradients);
    clip(gradients, parts);
    if (gradients.size() != before.size()) return failed("the list of gradients gets another length");
    for (std::size_t i = 0; i < before.size(); ++i) {
      if (gradients[i].defined() != before[i].defined()) return failed("a gradient appears or disappears");
      if (!before[i].defined()) continue;
      if (gradients[i].sizes() != before[i].sizes() || gradients[i].scalar_type() != before[i].scalar_type())
        return failed("a gradient gets another shape or dtype");
    }
    if (!same(copies(held_tensors), before)) return failed("the tensors themselves are overwritten");
  }
  return held();
}

/// The same gradients are clipped alike, whatever came between.
template <class C>
Verdict clip_keeps_nothing(const C& clip) {
  const auto parts = parts_to_clip();
  const auto clipped = [&](double scale) {
    std::vector<torch::Tensor> gradients;
    for (const auto& parameter : parts.all) gradients.push_back(torch::full_like(parameter, scale));
    clip(gradients, parts);
    return copies(gradients);
  };
  const auto once = clipped(1e6);
  clipped(1e9);
  return same(once, clipped(1e6)) ? held() : failed("asked again, the same gradients are clipped differently");
}

}  // namespace creditlib::detail::laws
