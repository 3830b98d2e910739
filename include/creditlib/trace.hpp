// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <array>
#include <creditlib/detail/exchanged_storages.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace creditlib {

namespace detail {

/// The forward pass behind a Trace; copies of the Trace share it.
class TracedPass {
 public:
  TracedPass() = default;
  TracedPass(const TracedPass&) = delete;
  TracedPass& operator=(const TracedPass&) = delete;
  virtual ~TracedPass() = default;

  virtual std::int64_t blocks() const = 0;
  /// (dh_{l+1}/dh_l)^T v; v has the shape of h_{l+1}.
  virtual torch::Tensor pullback(std::int64_t l, const torch::Tensor& v) = 0;
  /// The same through the parameters or, `transported`, through what stands in their place.
  torch::Tensor pullback(std::int64_t l, const torch::Tensor& v, bool transported) {
    const ExchangedStorages exchanged(transport(transported));
    return pullback(l, v);
  }
  /// (dlogits/dh_L)^T error, (B, ...) like h_L, computed at most once each way.
  torch::Tensor loss_gradient(const torch::Tensor& error, bool transported = false) {
    auto& known = loss_gradient_[transported];
    if (!known.defined()) {
      const ExchangedStorages exchanged(transport(transported));
      known = readout_pullback(error);
    }
    return known;
  }
  bool has_loss_gradient(bool transported) const { return loss_gradient_[transported].defined(); }
  /// What backward passes read in the place of parameters if they are asked to.
  void set_transport(Transport transport) { transport_ = std::move(transport); }
  const Transport& transport(bool transported) const {
    static const Transport none;
    return transported ? transport_ : none;
  }
  /// Whether the step's backward pass has consumed the graph.
  bool released() const { return released_; }

 protected:
  virtual torch::Tensor readout_pullback(const torch::Tensor& error) = 0;
  void restart() {
    loss_gradient_ = {};
    transport_ = {};
    released_ = false;
  }
  void release() { released_ = true; }

 private:
  std::array<torch::Tensor, 2> loss_gradient_;  ///< through the parameters, and transported
  Transport transport_;
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
/// The tensors are detached. What needs the step's own graph is reached through loss_gradient() and pullback(), until
/// the step's backward pass has consumed the graph. No second forward pass is run: with BatchNorm or Dropout it would
/// be another function.
class Trace {
 public:
  torch::Tensor input;                ///< x, as given to step
  torch::Tensor target;               ///< (B), or whatever the objective takes
  std::vector<torch::Tensor> hidden;  ///< h_0..h_L, each (B, hidden_shape(l)...)
  std::vector<torch::Tensor> branch;  ///< f_0..f_{L-1}; f_l is the output of block l before the join
  torch::Tensor logits;               ///< (B, C)
  /// (B, C), dloss_i/dlogits per sample; for cross-entropy softmax(logits) - onehot(target).
  torch::Tensor error;

  /// dloss_i/dh_L: the gradient of each sample's own loss (not divided by B) at the last hidden state, in the shape of
  /// h_L. If the readout has BatchNorm, the gradient of the batch's summed loss.
  ///
  /// - Cost: one backward pass through the readout, at most once per step.
  /// - Throws Error if this Trace has no graph, or the step's backward pass has consumed it.
  torch::Tensor loss_gradient() const {
    if (!pass_ || !pass_->has_loss_gradient(transported_)) require_pass("loss_gradient");
    return pass_->loss_gradient(error, transported_);
  }

  /// The loss per sample, (B), of other logits, (B, C), for this batch's target, by the trainer's objective. It is on
  /// the logits' graph if they have one. Several sets of logits, (N B, C), give (N B); each set is for the whole batch.
  ///
  /// - Throws Error if this Trace was not made by a trainer.
  torch::Tensor loss(const torch::Tensor& other_logits) const {
    require_objective("loss");
    const auto sets = other_logits.size(0) / target.size(0);
    if (sets <= 1) return objective_->loss(other_logits, target);
    std::vector<std::int64_t> repeats(static_cast<std::size_t>(target.dim()), 1);
    repeats[0] = sets;
    return objective_->loss(other_logits, target.repeat(repeats));
  }

  /// The error dloss_i/dlogits, (B, C), at other logits. Throws Error if this Trace was not made by a trainer.
  torch::Tensor error_at(const torch::Tensor& other_logits) const {
    require_objective("error_at");
    return objective_->error(other_logits, target);
  }

  /// (dh_{l+1}/dh_l)^T v for l in 0..L-1, in the shape of h_l; v has the shape of h_{l+1}.
  ///
  /// - Cost: one backward pass through block l.
  /// - Throws Error unless the source declares `static constexpr bool wants_pullback = true`, so that a rule that must
  ///   not use the blocks' forward weights cannot do so by accident, or has `transport`: then this and loss_gradient()
  ///   go through the tensors that transport puts in the place of parameters.
  /// - Throws Error if this Trace has no graph, the step's backward pass has consumed it, or l is out of range.
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
    return pass_->pullback(l, v, transported_);
  }

 private:
  friend struct detail::TraceAccess;

  void require_pass(const char* what) const {
    if (!pass_) detail::fail("Trace::", what, ": this Trace was not made by a trainer, so it has no graph.");
    if (pass_->released()) {
      detail::fail("Trace::", what,
                   ": the step's backward pass has consumed the graph; ask for it in credit() or learn().");
    }
  }

  void require_objective(const char* what) const {
    if (!objective_) detail::fail("Trace::", what, ": this Trace was not made by a trainer, so it has no objective.");
  }

  std::shared_ptr<detail::TracedPass> pass_;
  std::shared_ptr<const detail::AnyObjective> objective_;
  bool may_pull_back_ = false, transported_ = false;
};

namespace detail {

/// Lets trainers make Traces, grant the right to pull back, and say through what.
struct TraceAccess {
  static void attach(Trace& trace, std::shared_ptr<TracedPass> pass) { trace.pass_ = std::move(pass); }
  template <class Objective>
  static void set_objective(Trace& trace, const Objective& objective) {
    trace.objective_ = std::make_shared<const AnyObjective>(
        AnyObjective{[objective](const auto& logits, const auto& target) { return objective.loss(logits, target); },
                     [objective](const auto& logits, const auto& target) { return objective.error(logits, target); }});
  }
  static Trace restricted(Trace trace, bool may_pull_back, bool transported) {
    trace.may_pull_back_ = may_pull_back;
    trace.transported_ = transported;
    return trace;
  }
};

}  // namespace detail
}  // namespace creditlib
