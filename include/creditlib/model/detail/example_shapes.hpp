// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/model/detail/each_stage.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// Sizes for one sample.
struct ExampleShapes {
  std::vector<std::vector<std::int64_t>> hidden;  ///< of h_0..h_L
  std::vector<std::int64_t> logits;
  torch::Tensor last;  ///< h_L of the example itself
};

/// What the stages give for an example. Throws Error, beginning with `whose`, if they do not fit together, or if what
/// one gives does not have the samples in dimension 0.
template <class Network>
ExampleShapes example_shapes(Network& network, const torch::Tensor& example, const std::string& whose,
                             const StageNames& names) {
  std::vector<std::vector<std::int64_t>> shapes;
  torch::Tensor h = example, last;
  for_each_stage(network, names, [&](const std::string& stage, const auto& run) {
    const auto taken = h.sizes().vec();
    last = h;
    try {
      h = run(h);
    } catch (const c10::Error& error) {
      if (is_out_of_memory(error)) throw;
      fail(whose, ": ", stage, " cannot take the input ", shape_text(taken),
           " that results from the example: ", error.what_without_backtrace());
    }
    if (!h.defined() || h.dim() < 2 || h.size(0) != example.size(0)) {
      const auto given = h.defined() ? shape_text(h.sizes()) : "undefined";
      if (shapes.size() > static_cast<std::size_t>(network.blocks())) {
        fail(whose, ": the readout gives ", given,
             ", expected logits (B, classes), (B, N, classes) or (B, classes, H, W).");
      }
      fail(whose, ": ", stage, " gives ", given, " for the example ", shape_text(example.sizes()),
           ", expected a hidden state with the samples in dimension 0, such as (", example.size(0), ", d).");
    }
    shapes.push_back(h.sizes().slice(1).vec());
  });
  ExampleShapes found;
  found.last = last;
  found.logits = shapes.back();
  shapes.pop_back();
  found.hidden = std::move(shapes);
  return found;
}

}  // namespace creditlib::detail
