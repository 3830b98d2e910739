// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/closed_form/detail/side_by_side.hpp>
#include <creditlib/closed_form/detail/stage.hpp>
#include <creditlib/closed_form/network.hpp>
#include <creditlib/pass/pass.hpp>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// A pass by formula, in buffers that the next pass reuses.
class ClosedFormPass final : public Pass {
 public:
  ClosedFormPass(const closed_form::Network& network, const std::vector<torch::Tensor>& parameters,
                 MatmulPrecision precision)
      : embed_(network.embed, precision),
        readout_(network.readout, precision),
        residual_(network.residual),
        sums_(network.blocks.size()),
        gradients_(parameters) {
    for (const auto& stage : network.blocks) blocks_.emplace_back(stage, precision);
    branch_.resize(blocks_.size());
  }

  /// x (B, in).
  Trace forward(const torch::Tensor& x) {
    const torch::NoGradGuard no_grad;
    reset();
    Trace trace;
    trace.hidden.reserve(blocks_.size() + 1);
    torch::Tensor h = embed_.forward(x);
    for (std::size_t l = 0; l < blocks_.size(); ++l) {
      trace.hidden.push_back(h);
      branch_[l] = blocks_[l].forward(h);
      h = joined(l, h);
    }
    trace.hidden.push_back(h);
    trace.branch = branch_;
    trace.logits = logits_ = readout_.forward(h);
    return trace;
  }

  PassOutputs rerun(const std::vector<torch::Tensor>& states) override {
    const torch::NoGradGuard no_grad;
    for (std::size_t l = 0; l < blocks_.size(); ++l) branch_[l] = blocks_[l].forward(states[l].contiguous());
    logits_ = readout_.forward(states.back().contiguous());
    return {branch_, logits_};
  }

  std::vector<torch::Tensor> gradients(const OutputGradients& from,
                                       const std::vector<torch::Tensor>& parameters) override {
    const torch::NoGradGuard no_grad;
    gradients_.clear();
    const auto readout = blocks_.size() + 1;
    side_by_side_.run(from.readout.device(), readout + 1, [&](std::size_t part) {  // 0: the embed, l + 1: block l
      if (part == 0) {
        embed_.backward(from.embed, /*input_too=*/false, gradients_);
      } else if (part < readout) {
        blocks_[part - 1].backward(from.blocks[part - 1], /*input_too=*/false, gradients_);
      } else {
        readout_.backward({from.readout, {}}, /*input_too=*/false, gradients_);
      }
    });
    return finished(parameters);
  }

  /// Back-propagation: the gradients of a loss whose gradient in the logits is `error`, plus `branch_penalty` times the
  /// batch mean of ||f_l||^2 for each block.
  std::vector<torch::Tensor> backpropagate(const torch::Tensor& error, double branch_penalty,
                                           const std::vector<torch::Tensor>& parameters) {
    const torch::NoGradGuard no_grad;
    gradients_.clear();
    auto g = readout_.backward({error, {}}, /*input_too=*/true, gradients_);
    for (std::size_t l = blocks_.size(); l-- > 0;) {
      auto in_branch = g;
      if (branch_penalty != 0)
        in_branch = at::add(g, branch_[l], 2 * branch_penalty / static_cast<double>(error.size(0)));
      const bool input_too = l > 0 || !embed_.empty();
      const auto pulled = blocks_[l].backward({in_branch, {}}, input_too, gradients_);
      if (input_too) g = residual_ ? g.add_(pulled) : pulled;
    }
    embed_.backward({g, {}}, /*input_too=*/false, gradients_);
    return finished(parameters);
  }

  std::int64_t blocks() const override { return static_cast<std::int64_t>(blocks_.size()); }
  torch::Tensor pullback(std::int64_t l, const torch::Tensor& v) override {
    const auto pulled =
        blocks_[static_cast<std::size_t>(l)].pullback(v.expand_as(branch_[static_cast<std::size_t>(l)]));
    return residual_ ? pulled + v : pulled.clone();
  }

 private:
  torch::Tensor readout_pullback(const torch::Tensor& error) override {
    return readout_.pullback(error).clone();  // credit: the trainer's backward pass overwrites the buffer
  }

  /// Releases the last pass's tensors; the buffers remain.
  void reset() {
    embed_.reset();
    readout_.reset();
    for (auto& block : blocks_) block.reset();
    for (auto& f : branch_) f.reset();
    logits_.reset();
    restart();
  }

  torch::Tensor joined(std::size_t l, const torch::Tensor& h) {
    if (!residual_) return branch_[l];
    auto sum = sums_[l].like(h);
    return at::add_out(sum, h, branch_[l]);
  }

  std::vector<torch::Tensor> finished(const std::vector<torch::Tensor>& parameters) {
    release();
    return gradients_.gradients(parameters);
  }

  ClosedFormStage embed_, readout_;
  std::vector<ClosedFormStage> blocks_;
  bool residual_;
  std::vector<Buffer> sums_;  ///< h_1..h_L if residual
  std::vector<torch::Tensor> branch_;
  torch::Tensor logits_;
  GradientBuffers gradients_;
  SideBySide side_by_side_;
};

}  // namespace creditlib::detail
