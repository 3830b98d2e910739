// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/concepts.hpp>
#include <creditlib/detail/autocast.hpp>
#include <creditlib/network/detail/run_block.hpp>
#include <creditlib/scope/untouched.hpp>
#include <cstdint>
#include <string>

/// Looks at a network's parts before a step runs them.
namespace creditlib::detail {

/// What messages call a part: l is -1 for the embed, 0..L-1 for a block, L for the readout.
template <BlockModel Model>
std::string part_name(Model& model, std::int64_t l) {
  return l < 0 ? "the embed" : l == model->blocks() ? "the readout" : "block " + std::to_string(l);
}

/// h_{l+1} from h_l, or the logits from h_L.
template <BlockModel Model>
torch::Tensor output_of_part(Model& model, std::int64_t l, const torch::Tensor& h) {
  return l == model->blocks() ? logits_of(model, h) : joined(model, l, h, branch_of(model, l, h));
}

/// Runs the parts on a batch, each on a graph of its own, and calls look(l, output, input), l as above. Inputs of floating
/// point are leaves that require a gradient. Changes nothing: not running statistics, not LibTorch's generators.
template <BlockModel Model, class Look>
void look_at_parts(Model& model, const torch::Tensor& x, const PartRunner& run, const Look& look) {
  const torch::AutoGradMode grad(true);
  const scope::Untouched untouched(*model, x.device());
  const auto leaf = [](const torch::Tensor& t) {
    return t.detach().contiguous().requires_grad_(t.is_floating_point());
  };
  auto input = leaf(x);
  auto output = run([&] { return embedded(model, input.clone()); });  // a copy, which it may change in place
  for (std::int64_t l = -1;; ++l) {
    if (l >= 0) {
      input = leaf(output);
      output = run([&] { return output_of_part(model, l, input); });
    }
    look(l, output, input);
    if (l == model->blocks()) return;
    check_hidden(model, l + 1, output, x.size(0));
  }
}

}  // namespace creditlib::detail
