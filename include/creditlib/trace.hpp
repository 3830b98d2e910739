// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/ExpandUtils.h>
#include <torch/types.h>

#include <array>
#include <creditlib/detail/describe.hpp>
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
  /// (dh_{l+1}/dh_l) v or, for l = L, (dlogits/dh_L) v; v has the shape of h_l.
  virtual torch::Tensor push(std::int64_t l, const torch::Tensor& v) = 0;
  /// pullback through the parameters or, `transported`, through what stands in their place.
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

/// What a credit source may ask of a Trace beyond its tensors and loss_gradient().
struct TraceRights {
  bool pullback = false, pushforward = false;
  bool transported = false;  ///< go down through what stands in the place of parameters, for which pullback is granted
};

struct TraceAccess;

}  // namespace detail

/// One finished forward pass, as a credit source sees it. Copies are cheap and share the graph.
///
/// The tensors are detached. What needs the step's own graph is reached through loss_gradient(), pullback() and
/// pushforward(), until the step's backward pass has consumed the graph. No second forward pass is run: with BatchNorm
/// or Dropout it would be another function.
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
    if (!pass_ || !pass_->has_loss_gradient(rights_.transported)) require_pass("loss_gradient");
    return pass_->loss_gradient(error, rights_.transported);
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
    if (!rights_.pullback && !rights_.transported) {
      detail::fail(
          "Trace::pullback: this credit source does not declare `static constexpr bool wants_pullback = true`, so it ",
          "may not use the blocks' transposed Jacobians.");
    }
    require_pass("pullback");
    if (l < 0 || l >= pass_->blocks()) {
      detail::fail("Trace::pullback: block ", l, " does not exist, expected 0..", pass_->blocks() - 1, ".");
    }
    return pass_->pullback(l, v, rights_.transported);
  }

  /// What changes of the hidden states do to the logits, to first order and all at once: the sum over l of
  /// (dlogits/dh_l) u_l, in the shape of the logits.
  ///
  /// - u has one tensor per hidden state, in the shape of h_l or one that broadcasts to it; undefined for no change.
  /// - It is of this very step's function: the same Dropout masks and batch statistics.
  /// - Cost: by formula one forward pass from the lowest change on; by autograd about twice that, and once per step
  ///   the backward pass of each block and the readout.
  /// - Throws Error unless the source declares `static constexpr bool wants_pushforward = true`.
  /// - Throws Error for changes that do not fit, if this Trace has no graph, if the step's backward pass has consumed
  ///   it, and for an operation whose backward pass LibTorch cannot differentiate.
  torch::Tensor pushforward(const std::vector<torch::Tensor>& u) const {
    if (!rights_.pushforward) {
      detail::fail(
          "Trace::pushforward: this credit source does not declare `static constexpr bool wants_pushforward = true`, ",
          "so it may not use Jacobian-vector products.");
    }
    require_pass("pushforward");
    require_changes(u);
    const torch::NoGradGuard no_grad;
    torch::Tensor change;
    for (std::size_t l = 0; l < u.size(); ++l) {
      if (u[l].defined()) {
        const auto own = hidden.empty() ? u[l].detach() : u[l].detach().expand_as(hidden[l]);
        change = change.defined() ? change + own : own;
      }
      if (change.defined()) change = pass_->push(static_cast<std::int64_t>(l), change);
    }
    return change.defined() ? change : torch::zeros_like(logits);
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

  /// The hidden states are missing only where the pass refuses to push, in constant memory.
  void require_changes(const std::vector<torch::Tensor>& u) const {
    const auto expected = static_cast<std::size_t>(pass_->blocks()) + 1;
    if (u.size() != expected) {
      detail::fail("Trace::pushforward: ", u.size(), " changes were given, expected ", expected,
                   ": one for each of h_0..h_L, undefined for no change.");
    }
    for (std::size_t l = 0; l < hidden.size(); ++l) {
      if (!u[l].defined()) continue;
      const auto& h = hidden[l];
      if (!h.is_floating_point()) {
        detail::fail("Trace::pushforward: h_", l, " is ", detail::tensor_text(h),
                     ", which has no derivative; leave its change undefined.");
      }
      if (u[l].dim() != h.dim() || !at::is_expandable_to(u[l].sizes(), h.sizes()) ||
          u[l].scalar_type() != h.scalar_type() || u[l].device() != h.device()) {
        detail::fail("Trace::pushforward: the change of h_", l, " is ", detail::tensor_text(u[l]), ", expected ",
                     detail::tensor_text(h), ", or a shape that broadcasts to it.");
      }
    }
  }

  void require_objective(const char* what) const {
    if (!objective_) detail::fail("Trace::", what, ": this Trace was not made by a trainer, so it has no objective.");
  }

  std::shared_ptr<detail::TracedPass> pass_;
  std::shared_ptr<const detail::AnyObjective> objective_;
  detail::TraceRights rights_;
};

namespace detail {

/// Lets trainers make Traces and grant rights.
struct TraceAccess {
  static void attach(Trace& trace, std::shared_ptr<TracedPass> pass) { trace.pass_ = std::move(pass); }
  template <class Objective>
  static void set_objective(Trace& trace, const Objective& objective) {
    trace.objective_ = std::make_shared<const AnyObjective>(
        AnyObjective{[objective](const auto& logits, const auto& target) { return objective.loss(logits, target); },
                     [objective](const auto& logits, const auto& target) { return objective.error(logits, target); }});
  }
  static void set_transport(Trace& trace, Transport transport) { trace.pass_->set_transport(std::move(transport)); }
  static Trace restricted(Trace trace, TraceRights rights) {
    trace.rights_ = rights;
    return trace;
  }
};

}  // namespace detail
}  // namespace creditlib
