// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/closed_form/detail/backward_work.hpp>
#include <creditlib/closed_form/detail/formula_pass.hpp>
#include <creditlib/closed_form/detail/gradient_buffers.hpp>
#include <creditlib/closed_form/detail/share.hpp>
#include <creditlib/closed_form/detail/stage.hpp>
#include <creditlib/closed_form/network.hpp>
#include <creditlib/detail/team.hpp>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// A pass by formula on the CPU, in buffers that the next pass reuses. Threads share the rows, each taking some through
/// all layers: forward in one go, and backward in two, rows and then sums over them (BackwardWork).
class ClosedFormPass final : public FormulaPass {
 public:
  ClosedFormPass(const closed_form::Network& network, const std::vector<torch::Tensor>& parameters,
                 MatmulPrecision precision)
      : embed_(network.embed, precision),
        readout_(network.readout, precision),
        residual_(network.residual),
        work_(multiplications(network)),
        sums_(network.blocks.size()),
        pulled_sums_(network.blocks.size()),
        penalized_(network.blocks.size()),
        gradients_(parameters) {
    for (const auto& stage : network.blocks) blocks_.emplace_back(stage, precision);
    branch_.resize(blocks_.size());
  }

  Trace forward(const torch::Tensor& x) override {
    auto trace = prepare(x);
    run(Share{});
    return trace;
  }

  /// The same in parts: the tensors that the pass will compute, and then some rows of them, once those of x are there.
  Trace prepare(const torch::Tensor& x) {
    const torch::NoGradGuard no_grad;
    reset();
    hidden_.push_back(embed_.prepare(x));
    for (std::size_t l = 0; l < blocks_.size(); ++l) {
      const auto h = hidden_.back();
      branch_[l] = blocks_[l].prepare(h);
      hidden_.push_back(residual_ ? sums_[l].like(h) : branch_[l]);
    }
    logits_ = readout_.prepare(hidden_.back());
    shares_ = shares_of(x.size(0), work_, x.device());
    Trace trace;
    trace.hidden = hidden_;
    trace.branch = branch_;
    trace.logits = logits_;
    return trace;
  }
  void run(const Share& rows) {
    const torch::NoGradGuard no_grad;
    const auto shares = shares_of(hidden_[0].size(0) / rows.of, work_, hidden_[0].device());
    in_shares(shares, [&](std::int64_t i) {
      const Share share{rows.index * shares + i, rows.of * shares};
      embed_.forward(share);
      for (std::size_t l = 0; l < blocks_.size(); ++l) {
        blocks_[l].forward(share);
        if (!residual_) continue;
        auto sum = share.rows(hidden_[l + 1]);
        at::add_out(sum, share.rows(hidden_[l]), share.rows(branch_[l]));
      }
      readout_.forward(share);
    });
  }

  PassOutputs rerun(const std::vector<torch::Tensor>& states) override {
    const torch::NoGradGuard no_grad;
    for (std::size_t l = 0; l < blocks_.size(); ++l) branch_[l] = blocks_[l].prepare(states[l].contiguous());
    logits_ = readout_.prepare(states.back().contiguous());
    in_shares(shares_, [&](std::int64_t i) {
      for (const auto& block : blocks_) block.forward({i, shares_});
      readout_.forward({i, shares_});
    });
    return {branch_, logits_};
  }

  std::vector<torch::Tensor> gradients(const OutputGradients& from, const std::vector<torch::Tensor>& parameters,
                                       const GradientReady& ready) override {
    const torch::NoGradGuard no_grad;
    gradients_.clear();
    BackwardWork todo;
    const auto add = [&](ClosedFormStage& stage, const OutputGradient& g) {
      stage.backward(g, /*input_too=*/false, gradients_, todo);
      gradients_.tell(ready, todo);
    };
    add(readout_, {from.readout, {}});
    for (std::size_t l = blocks_.size(); l-- > 0;) add(blocks_[l], from.blocks[l]);
    add(embed_, from.embed);
    todo.run(shares_);
    return finished(parameters);
  }

  std::vector<torch::Tensor> backpropagate(const torch::Tensor& error, double branch_penalty,
                                           const std::vector<torch::Tensor>& parameters,
                                           const GradientReady& ready) override {
    const torch::NoGradGuard no_grad;
    gradients_.clear();
    BackwardWork todo;
    auto g = readout_.backward({error, {}}, /*input_too=*/true, gradients_, todo);
    gradients_.tell(ready, todo);
    for (std::size_t l = blocks_.size(); l-- > 0;) {
      auto in_branch = g;
      if (branch_penalty != 0) {
        const double twice = 2 * branch_penalty / static_cast<double>(error.size(0));
        in_branch = sum_of(g, branch_[l], twice, penalized_[l], todo);
      }
      const bool input_too = l > 0 || !embed_.empty();
      const auto pulled = blocks_[l].backward({in_branch, {}}, input_too, gradients_, todo);
      gradients_.tell(ready, todo);
      if (input_too) g = residual_ ? sum_of(g, pulled, 1, pulled_sums_[l], todo) : pulled;
    }
    embed_.backward({g, {}}, /*input_too=*/false, gradients_, todo);
    gradients_.tell(ready, todo);
    todo.run(shares_);
    return finished(parameters);
  }

  void keep_factors(bool on) override { gradients_.keep_factors(on); }
  std::vector<FactoredGradient> factors(const std::vector<torch::Tensor>& parameters) override {
    return gradients_.factors(parameters);
  }

  std::int64_t blocks() const override { return static_cast<std::int64_t>(blocks_.size()); }
  torch::Tensor pullback(std::int64_t l, const torch::Tensor& v) override {
    const auto pulled =
        blocks_[static_cast<std::size_t>(l)].pullback(v.expand_as(branch_[static_cast<std::size_t>(l)]), shares_);
    return residual_ ? pulled + v : pulled.clone();
  }
  torch::Tensor push(std::int64_t l, const torch::Tensor& v) override {
    const auto at = static_cast<std::size_t>(l);
    if (at == blocks_.size()) return readout_.push(v, shares_);
    const auto pushed = blocks_[at].push(v, shares_);
    return residual_ ? pushed + v : pushed;
  }

 private:
  torch::Tensor readout_pullback(const torch::Tensor& error) override {
    return readout_.pullback(error, shares_).clone();  // credit: the trainer's backward pass overwrites the buffer
  }

  /// Releases the last pass's tensors; the buffers remain.
  void reset() {
    embed_.reset();
    readout_.reset();
    for (auto& block : blocks_) block.reset();
    for (auto& f : branch_) f.reset();
    hidden_.clear();
    logits_.reset();
    restart();
  }

  /// a + factor b.
  static torch::Tensor sum_of(const torch::Tensor& a, const torch::Tensor& b, double factor, Buffer& buffer,
                              BackwardWork& todo) {
    const auto sum = buffer.like(a);
    todo.add_rows([=](const Share& share) {
      auto rows = share.rows(sum);
      at::add_out(rows, share.rows(a), share.rows(b), factor);
    });
    return sum;
  }

  std::vector<torch::Tensor> finished(const std::vector<torch::Tensor>& parameters) {
    release();
    return gradients_.gradients(parameters);
  }

  ClosedFormStage embed_, readout_;
  std::vector<ClosedFormStage> blocks_;
  bool residual_;
  std::int64_t work_, shares_ = 1;
  std::vector<Buffer> sums_;                     ///< h_1..h_L if residual
  std::vector<Buffer> pulled_sums_, penalized_;  ///< gradients in h_0..h_{L-1} and in f_0..f_{L-1}
  std::vector<torch::Tensor> hidden_, branch_;
  torch::Tensor logits_;
  GradientBuffers gradients_;
};

}  // namespace creditlib::detail
