#pragma once

#include <creditlib/error.hpp>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace creditlib {

namespace detail {

/// The autograd graph of one forward pass, cut at every hidden state. Shared by the copies of a Trace.
struct StepGraph {
  std::vector<torch::Tensor> entered;  ///< h_0..h_L as block l (the readout for h_L) received it: leaves
  std::vector<torch::Tensor> left;     ///< h_1..h_L as block l left it, on the graph from entered[l]
  torch::Tensor logits;                ///< on the graph from entered[L]
  torch::Tensor loss_gradient;         ///< computed at most once
  bool released = false;

  void release() {
    left.clear();
    logits.reset();
    released = true;
  }
};

/// An objective, its type forgotten.
struct AnyObjective {
  std::function<torch::Tensor(const torch::Tensor& logits, const torch::Tensor& target)> loss, error;
};

struct TraceAccess;

}  // namespace detail

/// One finished forward pass, as a credit source sees it. Copies are cheap and share the graph.
///
/// Everything in it is detached. What needs the step's own graph (no second forward is run: with BatchNorm or Dropout that
/// would be another function) is reached through loss_gradient() and pullback(), until the step's backward has used the graph up.
class Trace {
 public:
  torch::Tensor input;                ///< x, as given to step
  torch::Tensor target;               ///< (B), or what the objective takes
  std::vector<torch::Tensor> hidden;  ///< h_0..h_L, each (B, hidden_shape(l)...)
  std::vector<torch::Tensor> branch;  ///< f_0..f_{L-1}, block l's output before the join
  torch::Tensor logits;               ///< (B, C)
  torch::Tensor error;                ///< (B, C), dloss_i/dlogits per sample: softmax(logits) - onehot(target) for cross-entropy

  /// dloss_i/dh_L, shape of h_L: the gradient of each sample's own loss (not divided by B) at the last hidden state; where
  /// the readout has BatchNorm, of the batch's summed loss. One backward through the readout, at most once a step.
  ///
  /// Throws Error where this Trace has no graph, or the step's backward has used it up.
  torch::Tensor loss_gradient() const {
    if (graph_ && graph_->loss_gradient.defined()) return graph_->loss_gradient;
    require_graph("loss_gradient");
    graph_->loss_gradient = gradient(graph_->logits, graph_->entered.back(), error);
    return graph_->loss_gradient;
  }

  /// The loss of each sample, (B), that the trainer's objective gives other logits (B, C) for this batch's target; on a graph
  /// where the logits are. Throws Error for a Trace that no trainer made.
  torch::Tensor loss(const torch::Tensor& other_logits) const {
    require_objective("loss");
    return objective_->loss(other_logits, target);
  }

  /// The error dloss_i/dlogits, (B, C), at other logits. Throws Error for a Trace that no trainer made.
  torch::Tensor error_at(const torch::Tensor& other_logits) const {
    require_objective("error_at");
    return objective_->error(other_logits, target);
  }

  /// (dh_{l+1}/dh_l)^T v for l in 0..L-1, shape of h_l; v has the shape of h_{l+1}. One backward through block l.
  ///
  /// Only for sources that declare `static constexpr bool wants_pullback = true`: for all others it throws Error, so that a
  /// rule which may not look at the forward weights cannot.
  torch::Tensor pullback(std::int64_t l, const torch::Tensor& v) const {
    if (!may_pull_back_) {
      detail::fail("Trace::pullback: this credit source does not declare `static constexpr bool wants_pullback = true`, so it ",
                   "may not use the blocks' transposed Jacobians.");
    }
    require_graph("pullback");
    if (l < 0 || l >= static_cast<std::int64_t>(graph_->left.size())) {
      detail::fail("Trace::pullback: block ", l, " does not exist, expected 0..", graph_->left.size() - 1, ".");
    }
    const auto at = static_cast<std::size_t>(l);
    return gradient(graph_->left[at], graph_->entered[at], v.expand_as(graph_->left[at]));
  }

 private:
  friend struct detail::TraceAccess;

  static torch::Tensor gradient(const torch::Tensor& of, const torch::Tensor& by, const torch::Tensor& v) {
    if (!of.requires_grad()) return torch::zeros_like(by);
    const auto found = torch::autograd::grad({of}, {by}, {v}, /*retain_graph=*/true, /*create_graph=*/false, /*allow_unused=*/true);
    return found[0].defined() ? found[0] : torch::zeros_like(by);
  }

  void require_graph(const char* what) const {
    if (!graph_) detail::fail("Trace::", what, ": this Trace was not made by a trainer, so it has no graph.");
    if (graph_->released) {
      detail::fail("Trace::", what, ": the step's backward has used the graph up; ask for it in credit() or learn().");
    }
  }

  void require_objective(const char* what) const {
    if (!objective_) detail::fail("Trace::", what, ": this Trace was not made by a trainer, so it has no objective.");
  }

  std::shared_ptr<detail::StepGraph> graph_;
  std::shared_ptr<const detail::AnyObjective> objective_;
  bool may_pull_back_ = false;
};

namespace detail {

/// How trainers make Traces and hand out the right to pull back.
struct TraceAccess {
  static void attach(Trace& trace, std::shared_ptr<StepGraph> graph) { trace.graph_ = std::move(graph); }
  template <class Objective>
  static void set_objective(Trace& trace, const Objective& objective) {
    trace.objective_ = std::make_shared<const AnyObjective>(
        AnyObjective{[objective](const auto& logits, const auto& target) { return objective.loss(logits, target); },
                     [objective](const auto& logits, const auto& target) { return objective.error(logits, target); }});
  }
  static void release(const Trace& trace) {
    if (trace.graph_) trace.graph_->release();
  }
  static Trace restricted(Trace trace, bool may_pull_back) {
    trace.may_pull_back_ = may_pull_back;
    return trace;
  }
};

}  // namespace detail
}  // namespace creditlib
