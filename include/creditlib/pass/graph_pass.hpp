// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/autograd/autograd.h>

#include <creditlib/detail/autocast.hpp>
#include <creditlib/network/detail/gradients_of.hpp>
#include <creditlib/network/detail/run_block.hpp>
#include <creditlib/pass/graph_jacobian.hpp>
#include <creditlib/pass/pass.hpp>
#include <creditlib/scope/math_attention.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// A pass on the autograd graph, for any model: each block saw a detached h_l, so no graph crosses a block.
template <BlockModel Model>
class GraphPass final : public Pass {
 public:
  explicit GraphPass(Model model, const PartRunner& run = {}) : model_(std::move(model)), run_(run) {}

  /// The forward pass. With a right, h_0..h_{L-1} are leaves that a gradient can reach too, not h_L alone. For
  /// pushforward blocks and readout run on contiguous tensors: on the CPU LibTorch takes several times as long for the
  /// derivative of BatchNorm's backward pass if images are channels-last.
  Trace forward(const torch::Tensor& x, TraceRights rights) {
    const torch::AutoGradMode grad(true);
    std::optional<scope::MathAttention> twice_differentiable;
    if (rights.pushforward) twice_differentiable.emplace();
    const bool leaves = rights.pullback || rights.pushforward;
    const auto cut = [&](const torch::Tensor& h) { return rights.pushforward ? h.detach().contiguous() : h.detach(); };
    const auto blocks = static_cast<std::size_t>(model_->blocks());
    Trace trace;
    embedded_ = run_([&] { return embedded(model_, x); });
    torch::Tensor h = embedded_;
    for (std::size_t l = 0; l < blocks; ++l) {
      const auto at = static_cast<std::int64_t>(l);
      check_hidden(model_, at, h, x.size(0));
      trace.hidden.push_back(h.detach());
      entered_.push_back(cut(h).requires_grad_(leaves && h.is_floating_point()));  // not token ids
      branch_.push_back(run_([&] { return branch_of(model_, at, entered_[l]); }));
      h = joined(model_, at, entered_[l], branch_[l]);
      trace.branch.push_back(branch_[l].detach());
      left_.push_back(h);
    }
    check_hidden(model_, static_cast<std::int64_t>(blocks), h, x.size(0));
    trace.hidden.push_back(h.detach());
    entered_.push_back(cut(h).requires_grad_());
    traced_logits_ = logits_ = run_([&] { return logits_of(model_, entered_[blocks]); });
    check_logits(logits_, x.size(0), logits_shape(model_));
    trace.logits = logits_.detach();
    return trace;
  }

  PassOutputs rerun(const std::vector<torch::Tensor>& states) override {
    const torch::AutoGradMode grad(true);
    PassOutputs outputs;
    for (std::size_t l = 0; l < branch_.size(); ++l) {
      branch_[l] = run_([&] { return branch_of(model_, static_cast<std::int64_t>(l), states[l].detach()); });
      outputs.branch.push_back(branch_[l].detach());
    }
    logits_ = run_([&] { return logits_of(model_, states.back().detach()); });
    outputs.logits = logits_.detach();
    return outputs;
  }

  std::vector<torch::Tensor> gradients(const OutputGradients& from, const std::vector<torch::Tensor>& parameters,
                                       const GradientReady& ready) override {
    std::vector<torch::Tensor> outputs, seeds;
    const auto start_at = [&](const torch::Tensor& output, const torch::Tensor& seed) {
      if (!seed.defined()) return;
      outputs.push_back(output);
      seeds.push_back(seed);
    };
    start_at(embedded_, from.embed.dense);
    for (std::size_t l = 0; l < branch_.size(); ++l) start_at(branch_[l], from.blocks[l].dense);
    start_at(logits_, from.readout);
    auto found = gradients_of(outputs, seeds, parameters, ready);
    left_.clear();
    traced_logits_.reset();
    jacobians_.clear();
    release();
    return found;
  }

  std::int64_t blocks() const override { return static_cast<std::int64_t>(branch_.size()); }
  torch::Tensor pullback(std::int64_t l, const torch::Tensor& v) override {
    const auto at = static_cast<std::size_t>(l);
    return pulled_back(left_[at], entered_[at], v.expand_as(left_[at]));
  }
  torch::Tensor push(std::int64_t l, const torch::Tensor& v) override {
    const auto at = static_cast<std::size_t>(l);
    jacobians_.resize(entered_.size());
    if (!jacobians_[at]) {
      const bool readout = at == left_.size();
      jacobians_[at].emplace(readout ? traced_logits_ : left_[at], entered_[at],
                             readout ? "the readout" : "block " + std::to_string(l));
    }
    return jacobians_[at]->times(v);
  }

 private:
  torch::Tensor readout_pullback(const torch::Tensor& error) override {
    return pulled_back(traced_logits_, entered_.back(), error);
  }

  Model model_;
  PartRunner run_;
  torch::Tensor embedded_;              ///< h_0 on the graph of the embed
  std::vector<torch::Tensor> entered_;  ///< h_0..h_L as block l (the readout for h_L) received it: leaves
  std::vector<torch::Tensor> branch_;   ///< f_l on the graph of block l
  std::vector<torch::Tensor> left_;     ///< h_1..h_L as block l left it, on the graph from entered_[l]
  torch::Tensor traced_logits_;         ///< on the graph from entered_[L]
  std::vector<std::optional<GraphJacobian>> jacobians_;  ///< of left_ and traced_logits_ in entered_, once asked for
  torch::Tensor logits_;                                 ///< of the last run
};

}  // namespace creditlib::detail
