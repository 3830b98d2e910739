#pragma once

#include <creditlib/closed_form/network.hpp>
#include <creditlib/detail/closed_form_stage.hpp>
#include <creditlib/detail/pass.hpp>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// A pass by formula whose activations take the memory of one block, however many there are: the forward pass keeps h_0
/// and the logits; gradients() walks up again from h_0, block by block. For credit that can be told from the error
/// alone. Its Trace has no hidden states.
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
    forget();
    lowest_ = embed_.forward(x);
    const auto zero = torch::zeros({}, lowest_.options());
    torch::Tensor h = lowest_;
    for (const auto& stage : network_.blocks) {
      h = joined(h, stage);
      shapes_.push_back(zero.expand(branch_.sizes()));
    }
    logits_ = readout_.forward(h);
    return {};
  }

  std::vector<torch::Tensor> gradients(const OutputGradients& from,
                                       const std::vector<torch::Tensor>& parameters) override {
    const torch::NoGradGuard no_grad;
    gradients_.clear();
    readout_.backward({from.readout, {}}, /*input_too=*/false, gradients_);
    readout_.forget();
    torch::Tensor h = lowest_;
    for (std::size_t l = 0; l < network_.blocks.size(); ++l) {
      h = joined(h, network_.blocks[l]);
      block_.backward(from.blocks[l], /*input_too=*/false, gradients_);
    }
    embed_.backward(from.embed, /*input_too=*/false, gradients_);
    released = true;
    return gradients_.gradients(parameters);
  }

  /// Of f_l nothing is kept but its shape.
  torch::Tensor branch(std::size_t l) const override { return shapes_[l]; }
  torch::Tensor logits() const override { return logits_; }
  bool takes_factors() const override { return true; }
  bool takes_dense() const override { return false; }  // there is no room for all of it
  std::int64_t blocks() const override { return static_cast<std::int64_t>(network_.blocks.size()); }

  void rerun(const std::vector<torch::Tensor>&) override { fail_for("local_inputs"); }
  torch::Tensor readout_pullback(const torch::Tensor&) override { fail_for("Trace::loss_gradient"); }
  torch::Tensor pullback(std::int64_t, const torch::Tensor&) override { fail_for("Trace::pullback"); }

 private:
  [[noreturn]] static void fail_for(const char* what) {
    fail(what, ": under Memory::Constant a pass keeps nothing but the logits; use Memory::Activations.");
  }

  /// h_{l+1} from h_l by block l, in one of two buffers that take turns.
  torch::Tensor joined(const torch::Tensor& h, const closed_form::Stage& stage) {
    branch_.reset();
    block_.become(stage);
    branch_ = block_.forward(h);
    if (!network_.residual) return turns_[turn_ ^= 1].like(branch_).copy_(branch_);
    auto sum = turns_[turn_ ^= 1].like(h);
    return at::add_out(sum, h, branch_);
  }

  void forget() {
    embed_.forget();
    block_.forget();
    readout_.forget();
    lowest_.reset();
    branch_.reset();
    shapes_.clear();
    logits_.reset();
    released = false;
  }

  closed_form::Network network_;
  ClosedFormStage embed_, block_, readout_;
  Buffer turns_[2];
  std::size_t turn_ = 0;
  torch::Tensor lowest_, branch_, logits_;
  std::vector<torch::Tensor> shapes_;  ///< zeros of f_0..f_{L-1}'s shapes, of one number in all
  GradientBuffers gradients_;
};

}  // namespace creditlib::detail
