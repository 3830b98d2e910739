#pragma once

#include <torch/csrc/autograd/autograd.h>

#include <creditlib/detail/pass.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// Runs block l on h, a detached tensor, and says so where it overwrites it.
template <BlockModel Model>
torch::Tensor branch_of(Model& model, std::int64_t l, const torch::Tensor& h) {
  const auto in_place = [&] {
    fail("Block ", l, " changes its input in place, and with it the hidden state h_", l,
         " that credit is for; make its first layer out-of-place (inplace(false)).");
  };
  const auto version = h._version();
  torch::Tensor f;
  try {
    f = model->block(l, h);
  } catch (const c10::Error& error) {  // what LibTorch says of a leaf that pullbacks need
    if (std::string(error.what_without_backtrace()).find("in-place operation") != std::string::npos) in_place();
    throw;
  }
  if (h._version() != version) in_place();
  return f;
}

/// h_{l+1} from h_l and f_l; says so where the model's join overwrites one of them.
template <BlockModel Model>
torch::Tensor joined(Model& model, std::int64_t l, const torch::Tensor& h, const torch::Tensor& f) {
  const auto before = h._version() + f._version();
  torch::Tensor next = model->join(l, h, f);
  if (h._version() + f._version() != before)
    fail("join changes the hidden state h_", l, " or the block's output f_", l, " in place; return a new tensor.");
  return next;
}

/// Where one backward starts: outputs on several graphs, each with the gradient of the loss in it (undefined: 1, for a
/// scalar).
class Roots {
 public:
  /// Outputs that nothing trainable reaches are left out.
  void add(const torch::Tensor& output, const torch::Tensor& gradient = {}) {
    if (!output.requires_grad()) return;
    outputs_.push_back(output);
    gradients_.push_back(in_layout_of(output, gradient));
  }

  /// The gradients of the parameters, undefined where one is frozen or none arrives.
  std::vector<torch::Tensor> gradients(const std::vector<torch::Tensor>& parameters) const {
    std::vector<torch::Tensor> trainable, gradients(parameters.size());
    for (const auto& parameter : parameters) {
      if (parameter.requires_grad()) trainable.push_back(parameter);
    }
    if (outputs_.empty() || trainable.empty()) return gradients;
    auto found = torch::autograd::grad(outputs_, trainable, gradients_, /*retain_graph=*/false, /*create_graph=*/false,
                                       /*allow_unused=*/true);
    for (std::size_t i = 0, next = 0; i < parameters.size(); ++i) {
      if (parameters[i].requires_grad()) gradients[i] = std::move(found[next++]);
    }
    return gradients;
  }

 private:
  /// The gradient in its output's memory layout: backward kernels are slow where an output is channels-last and its
  /// gradient is not (a quarter of a SmallCNN step).
  static torch::Tensor in_layout_of(const torch::Tensor& output, const torch::Tensor& gradient) {
    if (!gradient.defined() || gradient.strides() == output.strides()) return gradient;
    return torch::empty_like(output.detach()).copy_(gradient);
  }

  std::vector<torch::Tensor> outputs_, gradients_;
};

/// A pass on the autograd graph, for any model: each block saw a detached h_l, so no graph crosses a block.
template <BlockModel Model>
class GraphPass final : public Pass {
 public:
  explicit GraphPass(Model model) : model_(std::move(model)) {}

  /// The forward pass. With `pullbacks`, h_0..h_{L-1} are leaves that a gradient can reach too, not h_L alone.
  Trace forward(const torch::Tensor& x, bool pullbacks) {
    const torch::AutoGradMode grad(true);
    const auto blocks = static_cast<std::size_t>(model_->blocks());
    Trace trace;
    embedded_ = model_->embed(x);
    torch::Tensor h = embedded_;
    for (std::size_t l = 0; l < blocks; ++l) {
      const auto at = static_cast<std::int64_t>(l);
      check_hidden("The model's h_", l, h, model_->hidden_shape(at), x.size(0));
      trace.hidden.push_back(h.detach());
      entered_.push_back(h.detach().requires_grad_(pullbacks));
      branch_.push_back(branch_of(model_, at, entered_[l]));
      h = joined(model_, at, entered_[l], branch_[l]);
      trace.branch.push_back(branch_[l].detach());
      left_.push_back(h);
    }
    check_hidden("The model's h_", blocks, h, model_->hidden_shape(static_cast<std::int64_t>(blocks)), x.size(0));
    trace.hidden.push_back(h.detach());
    entered_.push_back(h.detach().requires_grad_());
    traced_logits_ = logits_ = model_->readout(entered_[blocks]);
    check_logits(logits_, x.size(0), model_->classes());
    return trace;
  }

  void rerun(const std::vector<torch::Tensor>& states) override {
    const torch::AutoGradMode grad(true);
    for (std::size_t l = 0; l < branch_.size(); ++l)
      branch_[l] = branch_of(model_, static_cast<std::int64_t>(l), states[l].detach());
    logits_ = model_->readout(states.back().detach());
  }

  torch::Tensor branch(std::size_t l) const override { return branch_[l].detach(); }
  torch::Tensor logits() const override { return logits_.detach(); }

  std::vector<torch::Tensor> gradients(const OutputGradients& from,
                                       const std::vector<torch::Tensor>& parameters) override {
    Roots roots;
    if (from.embed.defined()) roots.add(embedded_, from.embed.dense);
    for (std::size_t l = 0; l < branch_.size(); ++l) {
      if (from.blocks[l].defined()) roots.add(branch_[l], from.blocks[l].dense);
    }
    roots.add(logits_, from.readout);
    auto found = roots.gradients(parameters);
    left_.clear();
    traced_logits_.reset();
    released = true;
    return found;
  }

  bool takes_factors() const override { return false; }
  bool takes_dense() const override { return true; }

  std::int64_t blocks() const override { return static_cast<std::int64_t>(branch_.size()); }
  torch::Tensor readout_pullback(const torch::Tensor& error) override {
    return pulled(traced_logits_, entered_.back(), error);
  }
  torch::Tensor pullback(std::int64_t l, const torch::Tensor& v) override {
    const auto at = static_cast<std::size_t>(l);
    return pulled(left_[at], entered_[at], v.expand_as(left_[at]));
  }

 private:
  static torch::Tensor pulled(const torch::Tensor& of, const torch::Tensor& by, const torch::Tensor& v) {
    if (!of.requires_grad()) return torch::zeros_like(by);
    const auto found =
        torch::autograd::grad({of}, {by}, {v}, /*retain_graph=*/true, /*create_graph=*/false, /*allow_unused=*/true);
    return found[0].defined() ? found[0] : torch::zeros_like(by);
  }

  Model model_;
  torch::Tensor embedded_;              ///< h_0 on the graph of the embed
  std::vector<torch::Tensor> entered_;  ///< h_0..h_L as block l (the readout for h_L) received it: leaves
  std::vector<torch::Tensor> branch_;   ///< f_l on the graph of block l
  std::vector<torch::Tensor> left_;     ///< h_1..h_L as block l left it, on the graph from entered_[l]
  torch::Tensor traced_logits_;         ///< on the graph from entered_[L]
  torch::Tensor logits_;                ///< of the last run
};

}  // namespace creditlib::detail
