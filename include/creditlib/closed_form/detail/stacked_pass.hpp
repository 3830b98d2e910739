// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <creditlib/closed_form/detail/formula_pass.hpp>
#include <creditlib/closed_form/detail/stacked_stages.hpp>
#include <creditlib/closed_form/network.hpp>
#include <creditlib/detail/stacked.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// A pass by formula on a device, in few kernels: blocks that are alike have their gradients by batched products. Its
/// tensors outlive it.
class StackedPass final : public FormulaPass {
 public:
  StackedPass(const closed_form::Network& network, const std::vector<torch::Tensor>&, MatmulPrecision precision)
      : embed_({network.embed}, precision),
        readout_({network.readout}, precision),
        groups_(groups_of(network.blocks)),
        residual_(network.residual) {
    for (const auto& group : groups_) {
      std::vector<closed_form::Stage> stages;
      for (const auto l : group) stages.push_back(network.blocks[l]);
      stages_.emplace_back(std::move(stages), precision);
    }
    places_.resize(network.blocks.size());
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      for (std::size_t i = 0; i < groups_[g].size(); ++i) places_[groups_[g][i]] = {g, i};
    }
  }

  Trace forward(const torch::Tensor& x) override {
    const torch::NoGradGuard no_grad;
    restart();
    Trace trace;
    std::vector<torch::Tensor> room(places_.size() + 1);  // for h_0..h_L, which are of one shape if residual
    if (residual_) room = at::empty({blocks() + 1, x.size(0), embed_.outputs(x.size(1))}, x.options()).unbind();
    trace.hidden = {embed_.empty() ? x : embed_.forward(0, x, room[0])};
    branch_.clear();
    for (std::size_t l = 0; l < places_.size(); ++l) {
      const auto h = trace.hidden.back();
      branch_.push_back(forward_block(l, h));
      trace.hidden.push_back(residual_ ? at::add_out(room[l + 1], h, branch_[l]) : branch_[l]);
    }
    trace.branch = branch_;
    trace.logits = readout_.forward(0, trace.hidden.back());
    return trace;
  }

  PassOutputs rerun(const std::vector<torch::Tensor>& states) override {
    const torch::NoGradGuard no_grad;
    for (std::size_t l = 0; l < places_.size(); ++l) branch_[l] = forward_block(l, states[l].contiguous());
    return {branch_, readout_.forward(0, states.back().contiguous())};
  }

  std::vector<torch::Tensor> gradients(const OutputGradients& from, const std::vector<torch::Tensor>& parameters,
                                       const GradientReady& ready) override {
    const torch::NoGradGuard no_grad;
    FoundGradients found(ready);
    backward(readout_, readout_.all(), {from.readout}, &found);
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      std::vector<torch::Tensor> seeds;
      for (const auto l : groups_[g]) seeds.push_back(from.blocks[l].dense);
      backward(stages_[g], stages_[g].all(), seeds, &found);
    }
    if (from.embed.defined()) backward(embed_, embed_.all(), {from.embed.dense}, &found);
    release();
    return found.gradients(parameters);
  }

  std::vector<torch::Tensor> backpropagate(const torch::Tensor& error, double branch_penalty,
                                           const std::vector<torch::Tensor>& parameters,
                                           const GradientReady& ready) override {
    const torch::NoGradGuard no_grad;
    FoundGradients found(ready);
    auto g = pulled(readout_, 0, error, &found);
    for (std::size_t l = places_.size(); l-- > 0;) {
      auto in_branch = g;
      if (branch_penalty != 0) {
        in_branch = at::add(g, branch_[l], 2 * branch_penalty / static_cast<double>(error.size(0)));
      }
      const auto& [group, i] = places_[l];
      if (l == 0 && embed_.empty()) {
        backward(stages_[group], {i, 1}, {in_branch}, &found);
      } else {
        const auto in_input = pulled(stages_[group], i, in_branch, &found);
        g = residual_ ? g + in_input : in_input;
      }
    }
    if (!embed_.empty()) backward(embed_, embed_.all(), {g}, &found);
    release();
    return found.gradients(parameters);
  }

  std::int64_t blocks() const override { return static_cast<std::int64_t>(places_.size()); }
  torch::Tensor pullback(std::int64_t l, const torch::Tensor& v) override {
    const torch::NoGradGuard no_grad;
    const auto at = static_cast<std::size_t>(l);
    const auto& [group, i] = places_[at];
    const auto in_branch = pulled(stages_[group], i, v.expand_as(branch_[at]), nullptr);
    return residual_ ? in_branch + v : in_branch;
  }
  torch::Tensor push(std::int64_t l, const torch::Tensor& v) override {
    const torch::NoGradGuard no_grad;
    const auto at = static_cast<std::size_t>(l);
    if (at == places_.size()) return readout_.push(0, v.contiguous());
    const auto& [group, i] = places_[at];
    const auto pushed = stages_[group].push(i, v.contiguous());
    return residual_ ? pushed + v : pushed;
  }

 private:
  struct Place {
    std::size_t group = 0, i = 0;
  };

  /// The numbers of the blocks of each kind, in order.
  static std::vector<std::vector<std::size_t>> groups_of(const std::vector<closed_form::Stage>& blocks) {
    std::vector<std::vector<std::size_t>> groups;
    for (std::size_t l = 0; l < blocks.size(); ++l) {
      const auto group = std::ranges::find_if(
          groups, [&](const auto& one) { return StackedStages::alike(blocks[one.front()], blocks[l]); });
      if (group == groups.end()) {
        groups.push_back({l});
      } else {
        group->push_back(l);
      }
    }
    return groups;
  }

  torch::Tensor forward_block(std::size_t l, const torch::Tensor& h) {
    return stages_[places_[l].group].forward(places_[l].i, h);
  }

  /// The gradients of these stages' parameters.
  static void backward(StackedStages& stages, StackedStages::Some some, const std::vector<torch::Tensor>& g,
                       FoundGradients* found) {
    stages.backward(some, stacked(g), /*input_too=*/false, found);
  }
  /// The gradient in the input of one; of its parameters too, if they are to be found.
  static torch::Tensor pulled(StackedStages& stages, std::size_t i, const torch::Tensor& g, FoundGradients* found) {
    return stages.backward({i, 1}, g.contiguous().unsqueeze(0), /*input_too=*/true, found)[0];
  }

  torch::Tensor readout_pullback(const torch::Tensor& error) override {
    const torch::NoGradGuard no_grad;
    return pulled(readout_, 0, error, nullptr);
  }

  StackedStages embed_, readout_;
  std::vector<std::vector<std::size_t>> groups_;
  std::vector<StackedStages> stages_;  ///< of each group
  std::vector<Place> places_;          ///< of each block
  bool residual_;
  std::vector<torch::Tensor> branch_;
};

}  // namespace creditlib::detail
