// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/autograd/autograd.h>

#include <creditlib/concepts.hpp>
#include <creditlib/detail/autocast.hpp>
#include <creditlib/detail/target_range.hpp>
#include <creditlib/network/detail/run_block.hpp>
#include <string>
#include <vector>

namespace creditlib::detail {

/// One forward pass of the whole network on one graph, for back-propagation.
struct WholePass {
  std::vector<torch::Tensor> hidden;  ///< h_0..h_L on the graph
  std::vector<torch::Tensor> branch;  ///< f_0..f_{L-1} on the graph
  torch::Tensor logits;
};

/// With `from_h0` the graph starts at h_0 at the latest, even if nothing below it is trainable.
template <BlockModel Model>
WholePass forward_whole(Model& model, const torch::Tensor& x, bool from_h0, const PartRunner& run_as = {}) {
  const torch::AutoGradMode grad(true);
  const auto blocks = static_cast<std::int64_t>(model->blocks());
  const auto checked = [&](const torch::Tensor& h, std::int64_t l) -> const torch::Tensor& {
    check_hidden(model, l, h, x.size(0));
    return h;
  };
  WholePass pass;
  torch::Tensor h = run_as([&] { return embedded(model, x); });
  if (from_h0 && !h.requires_grad() && h.is_floating_point()) h = h.detach().requires_grad_();
  if (!from_h0 && h.is_alias_of(x)) h = h.clone();  // a block that modifies h in place must not modify the batch
  pass.hidden.push_back(checked(h, 0));
  for (std::int64_t l = 0; l < blocks; ++l) {
    // A block that overwrites h_l does no harm to a step, but the gradient in h_l would be that of what it wrote.
    const auto run = [&]() -> torch::Tensor { return model->block(l, h); };
    const auto name = [&] { return block_name(l); };
    pass.branch.push_back(
        run_as([&] { return from_h0 ? branch_of(model, l, h) : run_part(h, run, name, nothing_in_place); }));
    h = join_of(model, l, h, pass.branch.back());
    pass.hidden.push_back(checked(h, l + 1));
  }
  pass.logits = run_as([&] { return logits_of(model, h); });
  check_logits(pass.logits, x.size(0), logits_shape(model));
  return pass;
}

/// dloss_i/dh_l for l = 0..L: the gradient of each sample's own loss at every hidden state, by back-propagation, in the
/// model's present mode. Like any forward pass, it changes running statistics and torch's generators.
template <BlockModel Model, class Objective>
std::vector<torch::Tensor> hidden_gradients(Model& model, const Objective& objective, const torch::Tensor& x,
                                            const torch::Tensor& y, const PartRunner& run_as = {}) {
  const auto pass = forward_whole(model, x, /*from_h0=*/true, run_as);
  check_target(objective, pass.logits, y);
  const torch::AutoGradMode grad(true);
  // h_0 of a network without an embed may be token ids, which have no gradient.
  const std::vector<torch::Tensor> differentiable(pass.hidden.begin() + (pass.hidden[0].is_floating_point() ? 0 : 1),
                                                  pass.hidden.end());
  auto gradients =
      torch::autograd::grad({objective.loss(pass.logits, y).sum()}, differentiable, {}, /*retain_graph=*/false,
                            /*create_graph=*/false, /*allow_unused=*/true);
  if (gradients.size() < pass.hidden.size()) gradients.insert(gradients.begin(), torch::Tensor());
  for (std::size_t l = 0; l < gradients.size(); ++l) {
    if (!gradients[l].defined()) gradients[l] = torch::zeros_like(pass.hidden[l]).detach();
  }
  return gradients;
}

}  // namespace creditlib::detail
