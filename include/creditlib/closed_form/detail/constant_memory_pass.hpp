// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/closed_form/detail/backward_work.hpp>
#include <creditlib/closed_form/detail/gradient_buffers.hpp>
#include <creditlib/closed_form/detail/share.hpp>
#include <creditlib/closed_form/detail/stage.hpp>
#include <creditlib/closed_form/network.hpp>
#include <creditlib/detail/team.hpp>
#include <creditlib/error.hpp>
#include <creditlib/pass/pass.hpp>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// A pass by formula whose activations take the memory of one block, whatever the number of blocks: the forward pass
/// keeps h_0 and the logits, and gradients() recomputes from h_0, block by block. For credit that is computed from the
/// error alone and kept as factors. Its Trace has the logits, but no hidden states.
class ConstantMemoryPass final : public Pass {
 public:
  ConstantMemoryPass(const closed_form::Network& network, const std::vector<torch::Tensor>& parameters,
                     MatmulPrecision precision)
      : network_(network),
        embed_(network.embed, precision),
        block_(network.blocks.front(), precision),
        readout_(network.readout, precision),
        gradients_(parameters) {}

  /// x (B, in).
  Trace forward(const torch::Tensor& x) {
    const torch::NoGradGuard no_grad;
    reset();
    shares_ = shares_of(x.size(0), work_, x.device());
    h0_ = forward(embed_, x);
    torch::Tensor h = h0_;
    for (const auto& stage : network_.blocks) h = next(h, stage);
    Trace trace;
    trace.logits = forward(readout_, h);
    return trace;
  }

  std::vector<torch::Tensor> gradients(const OutputGradients& from, const std::vector<torch::Tensor>& parameters,
                                       const GradientReady& ready) override {
    const torch::NoGradGuard no_grad;
    gradients_.clear();
    backward(readout_, {from.readout, {}}, ready);
    readout_.reset();
    torch::Tensor h = h0_;
    for (std::size_t l = 0; l < network_.blocks.size(); ++l) {
      h = next(h, network_.blocks[l]);
      backward(block_, from.blocks[l], ready);
    }
    backward(embed_, from.embed, ready);
    release();
    return gradients_.gradients(parameters);
  }

  void keep_factors(bool on) override { gradients_.keep_factors(on); }
  std::vector<FactoredGradient> factors(const std::vector<torch::Tensor>& parameters) override {
    return gradients_.factors(parameters);
  }

  std::int64_t blocks() const override { return static_cast<std::int64_t>(network_.blocks.size()); }

  PassOutputs rerun(const std::vector<torch::Tensor>&) override { refuse("local_inputs"); }
  torch::Tensor pullback(std::int64_t, const torch::Tensor&) override { refuse("Trace::pullback"); }
  torch::Tensor push(std::int64_t, const torch::Tensor&) override { refuse("Trace::pushforward"); }

 private:
  torch::Tensor readout_pullback(const torch::Tensor&) override { refuse("Trace::loss_gradient"); }

  [[noreturn]] static void refuse(const char* what) {
    fail(what, ": under Memory::Constant a pass keeps nothing but the logits; use Memory::Activations.");
  }

  /// h_{l+1} from h_l by block l, alternating between two buffers.
  torch::Tensor next(const torch::Tensor& h, const closed_form::Stage& stage) {
    branch_.reset();
    block_.assign(stage);
    branch_ = block_.prepare(h);
    const auto after = ping_pong_[turn_ ^= 1].like(network_.residual ? h : branch_);
    in_shares(shares_, [&](std::int64_t i) {
      const Share share{i, shares_};
      block_.forward(share);
      auto rows = share.rows(after);
      if (network_.residual) {
        at::add_out(rows, share.rows(h), share.rows(branch_));
      } else {
        rows.copy_(share.rows(branch_));
      }
    });
    return after;
  }

  torch::Tensor forward(ClosedFormStage& stage, const torch::Tensor& x) const {
    auto out = stage.prepare(x);
    in_shares(shares_, [&](std::int64_t i) { stage.forward({i, shares_}); });
    return out;
  }
  void backward(ClosedFormStage& stage, const OutputGradient& from, const GradientReady& ready) {
    BackwardWork todo;
    stage.backward(from, /*input_too=*/false, gradients_, todo);
    gradients_.tell(ready, todo);
    todo.run(shares_);
  }

  void reset() {
    embed_.reset();
    block_.reset();
    readout_.reset();
    h0_.reset();
    branch_.reset();
    restart();
  }

  closed_form::Network network_;
  std::int64_t work_ = multiplications(network_), shares_ = 1;
  ClosedFormStage embed_, block_, readout_;
  Buffer ping_pong_[2];
  std::size_t turn_ = 0;
  torch::Tensor h0_, branch_;
  GradientBuffers gradients_;
};

}  // namespace creditlib::detail
