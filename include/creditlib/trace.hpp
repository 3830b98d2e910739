#pragma once

#include <torch/types.h>

#include <creditlib/error.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace creditlib {

namespace detail {

/// What a Trace can ask of its forward pass. Shared by the copies of a Trace.
class TracedPass {
 public:
  TracedPass() = default;
  TracedPass(const TracedPass&) = delete;
  TracedPass& operator=(const TracedPass&) = delete;
  virtual ~TracedPass() = default;

  virtual std::int64_t blocks() const = 0;
  /// (dh_{l+1}/dh_l)^T v; v has the shape of h_{l+1}.
  virtual torch::Tensor pullback(std::int64_t l, const torch::Tensor& v) = 0;
  /// (dlogits/dh_L)^T error, (B, ...) like h_L, computed at most once.
  torch::Tensor loss_gradient(const torch::Tensor& error) {
    if (!loss_gradient_.defined()) loss_gradient_ = readout_pullback(error);
    return loss_gradient_;
  }
  bool has_loss_gradient() const { return loss_gradient_.defined(); }
  /// Whether the step's backward has used the pass up.
  bool released() const { return released_; }

 protected:
  virtual torch::Tensor readout_pullback(const torch::Tensor& error) = 0;
  void restart() {
    loss_gradient_.reset();
    released_ = false;
  }
  void release() { released_ = true; }

 private:
  torch::Tensor loss_gradient_;
  bool released_ = false;
};

/// A type-erased objective.
struct AnyObjective {
  std::function<torch::Tensor(const torch::Tensor& logits, const torch::Tensor& target)> loss, error;
};

struct TraceAccess;

}  // namespace detail

/// One finished forward pass, as a credit source sees it. Copies are cheap and share the graph.
///
/// Everything in it is detached. What needs the step's own graph (no second forward is run: with BatchNorm or Dropout
/// that would be another function) is reached through loss_gradient() and pullback(), until the step's backward has
/// used the graph up.
class Trace {
 public:
  torch::Tensor input;                ///< x, as given to step
  torch::Tensor target;               ///< (B), or what the objective takes
  std::vector<torch::Tensor> hidden;  ///< h_0..h_L, each (B, hidden_shape(l)...)
  std::vector<torch::Tensor> branch;  ///< f_0..f_{L-1}, block l's output before the join
  torch::Tensor logits;               ///< (B, C)
  torch::Tensor error;  ///< (B, C), dloss_i/dlogits per sample: softmax(logits) - onehot(target) for cross-entropy

  /// dloss_i/dh_L, shape of h_L: the gradient of each sample's own loss (not divided by B) at the last hidden state;
  /// where the readout has BatchNorm, of the batch's summed loss. One backward through the readout, at most once a
  /// step.
  ///
  /// Throws Error where this Trace has no graph, or the step's backward has used it up.
  torch::Tensor loss_gradient() const {
    if (!pass_ || !pass_->has_loss_gradient()) require_pass("loss_gradient");
    return pass_->loss_gradient(error);
  }

  /// The loss of each sample that the trainer's objective gives other logits, (B, C) to (B), for this batch's target;
  /// on a graph where the logits are. Several sets of logits at once, (N B, C) to (N B), are each for the whole batch.
  /// Throws Error for a Trace that no trainer made.
  torch::Tensor loss(const torch::Tensor& other_logits) const {
    require_objective("loss");
    const auto sets = other_logits.size(0) / target.size(0);
    if (sets <= 1) return objective_->loss(other_logits, target);
    std::vector<std::int64_t> repeats(static_cast<std::size_t>(target.dim()), 1);
    repeats[0] = sets;
    return objective_->loss(other_logits, target.repeat(repeats));
  }

  /// The error dloss_i/dlogits, (B, C), at other logits. Throws Error for a Trace that no trainer made.
  torch::Tensor error_at(const torch::Tensor& other_logits) const {
    require_objective("error_at");
    return objective_->error(other_logits, target);
  }

  /// (dh_{l+1}/dh_l)^T v for l in 0..L-1, shape of h_l; v has the shape of h_{l+1}. One backward through block l.
  ///
  /// Only for sources that declare `static constexpr bool wants_pullback = true`: for all others it throws Error, so
  /// that a rule which may not look at the forward weights cannot.
  torch::Tensor pullback(std::int64_t l, const torch::Tensor& v) const {
    if (!may_pull_back_) {
      detail::fail(
          "Trace::pullback: this credit source does not declare `static constexpr bool wants_pullback = true`, so it ",
          "may not use the blocks' transposed Jacobians.");
    }
    require_pass("pullback");
    if (l < 0 || l >= pass_->blocks()) {
      detail::fail("Trace::pullback: block ", l, " does not exist, expected 0..", pass_->blocks() - 1, ".");
    }
    return pass_->pullback(l, v);
  }

 private:
  friend struct detail::TraceAccess;

  void require_pass(const char* what) const {
    if (!pass_) detail::fail("Trace::", what, ": this Trace was not made by a trainer, so it has no graph.");
    if (pass_->released()) {
      detail::fail("Trace::", what, ": the step's backward has used the graph up; ask for it in credit() or learn().");
    }
  }

  void require_objective(const char* what) const {
    if (!objective_) detail::fail("Trace::", what, ": this Trace was not made by a trainer, so it has no objective.");
  }

  std::shared_ptr<detail::TracedPass> pass_;
  std::shared_ptr<const detail::AnyObjective> objective_;
  bool may_pull_back_ = false;
};

namespace detail {

/// How trainers make Traces and hand out the right to pull back.
struct TraceAccess {
  static void attach(Trace& trace, std::shared_ptr<TracedPass> pass) { trace.pass_ = std::move(pass); }
  template <class Objective>
  static void set_objective(Trace& trace, const Objective& objective) {
    trace.objective_ = std::make_shared<const AnyObjective>(
        AnyObjective{[objective](const auto& logits, const auto& target) { return objective.loss(logits, target); },
                     [objective](const auto& logits, const auto& target) { return objective.error(logits, target); }});
  }
  static Trace restricted(Trace trace, bool may_pull_back) {
    trace.may_pull_back_ = may_pull_back;
    return trace;
  }
};

}  // namespace detail
}  // namespace creditlib
