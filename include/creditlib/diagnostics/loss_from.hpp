// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/autograd/autograd.h>

#include <creditlib/concepts.hpp>
#include <creditlib/detail/target_range.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/detail/forward_from.hpp>
#include <creditlib/network/detail/run_block.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/scope/generators.hpp>
#include <creditlib/scope/untouched.hpp>
#include <cstdint>
#include <utility>
#include <vector>

namespace creditlib::diagnostics {

/// The rest of a network as a function of one hidden state: the loss of each sample if h_l is replaced.
///
///     loss(l, h) = objective(readout(h_L), y),  h_l = h,  h_{k+1} = join(k, h_k, block(k, h_k)) for k = l..L-1
///
/// - Construction runs one forward pass of the batch, in the model's present mode.
/// - Every call runs in the model's mode at that time and repeats the random numbers that the first pass drew from
///   block l on (Dropout masks), so that losses differ by h alone.
/// - Nothing is changed: neither the model's running statistics nor LibTorch's generators.
/// - With BatchNorm in train mode a sample's loss depends on the whole batch's h.
/// - Cost: a call costs a forward pass from block l on.
/// - Throws Error for an unsuitable batch; operator() throws for an invalid l or shape.
template <BlockModel Model, class Objective = CrossEntropy>
class LossFrom {
 public:
  LossFrom(Model& model, const torch::Tensor& x, const torch::Tensor& y, Objective objective = {})
      : model_(model), device_(x.device()), target_(y), objective_(std::move(objective)) {
    detail::translated([&] {
      const torch::NoGradGuard no_grad;
      const scope::RestoredGlobalGenerators generators(device_);
      const scope::Untouched untouched(*model_, device_);
      const auto add = [&](const torch::Tensor& h) {
        detail::check_hidden(model_, static_cast<std::int64_t>(hidden_.size()), h, x.size(0));
        hidden_.push_back(h);
        drawn_.push_back(generator_states());
      };
      add(detail::embedded(model_, x));
      for (std::int64_t l = 0; l < blocks(); ++l) {
        const auto h = hidden_.back();
        add(detail::join_of(model_, l, h, detail::branch_of(model_, l, h)));
      }
      const auto logits = detail::logits_of(model_, hidden_.back());
      detail::check_logits(logits, x.size(0), logits_shape(model_));
      detail::check_target(objective_, logits, target_);
      losses_ = objective_.loss(logits, target_);
    });
  }

  std::int64_t blocks() const { return model_->blocks(); }
  /// h_0..h_L of the batch, detached, in the model's dtype at construction.
  const std::vector<torch::Tensor>& hidden() const { return hidden_; }
  /// The loss of each sample at the batch's own hidden states, (B).
  const torch::Tensor& losses() const { return losses_; }

  /// The loss of each sample, (B), with h_l = h, detached. h has the shape of h_l and the model's present dtype.
  torch::Tensor operator()(std::int64_t l, const torch::Tensor& h) const {
    return detail::translated([&] {
      const torch::NoGradGuard no_grad;
      return run(l, h);
    });
  }

  /// dloss_i/dh_l at h_l = h: the gradient of each sample's own loss (of the batch's summed loss if BatchNorm runs in
  /// train mode).
  torch::Tensor gradient(std::int64_t l, const torch::Tensor& h) const {
    return detail::translated([&] {
      if (!h.is_floating_point()) {
        detail::fail("LossFrom: h_", l, " is ", detail::tensor_text(h), ", such as token ids, which has no gradient.");
      }
      const torch::AutoGradMode grad(true);
      const auto leaf = h.detach().clone().requires_grad_();
      const auto loss = run(l, leaf).sum();
      if (!loss.requires_grad()) return torch::zeros_like(h);
      const auto found = torch::autograd::grad({loss}, {leaf}, {}, /*retain_graph=*/false, /*create_graph=*/false,
                                               /*allow_unused=*/true);
      return found[0].defined() ? found[0] : torch::zeros_like(h);
    });
  }

 private:
  std::vector<torch::Tensor> generator_states() const { return scope::states_of(scope::global_generators(device_)); }

  torch::Tensor run(std::int64_t l, torch::Tensor h) const {
    if (l < 0 || l > blocks()) detail::fail("LossFrom: there is no h_", l, ", expected 0..", blocks(), ".");
    const auto at = static_cast<std::size_t>(l);
    if (h.sizes() != hidden_[at].sizes()) {
      detail::fail("LossFrom: h_", l, " is ", detail::shape_text(h.sizes()), ", expected ",
                   detail::shape_text(hidden_[at].sizes()), ".");
    }
    const scope::RestoredGlobalGenerators generators(device_);
    const scope::Untouched untouched(*model_, device_);
    scope::set_states(scope::global_generators(device_), drawn_[at]);
    const auto dtype = h.scalar_type();
    const auto target = target_.is_floating_point() ? target_.to(dtype) : target_;
    return objective_.loss(detail::forward_from(model_, l, h), target);
  }

  mutable Model model_;
  torch::Device device_;
  torch::Tensor target_;
  Objective objective_;
  std::vector<torch::Tensor> hidden_;
  std::vector<std::vector<torch::Tensor>> drawn_;  ///< the generators' states when h_l was entered
  torch::Tensor losses_;
};

}  // namespace creditlib::diagnostics
