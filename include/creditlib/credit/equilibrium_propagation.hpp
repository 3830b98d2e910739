// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <creditlib/bind_context.hpp>
#include <creditlib/concepts.hpp>
#include <creditlib/credit/detail/refuse_draws.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/scope/untouched.hpp>
#include <cstdint>
#include <utility>
#include <vector>

namespace creditlib {

/// Equilibrium propagation: the network's states relax under an energy that nudges the output toward the target; the
/// remaining difference between a state and its prediction from below is the credit.
///
///     E_b(s) = sum_{l=1..L} 1/2 ||s_l - F_{l-1}(s_{l-1})||^2 + 1/2 ||s_0 - embed(x)||^2 + beta loss_b(readout(s_L))
///     F_l(s) = join(l, s, block(l, s))
///
/// The states s_0..s_L start at the free states h_0..h_L, where the energy without the nudge is minimal, and take T =
/// `steps` gradient steps at rate alpha = `rate`, all states at once; s_0 = x is fixed if the model has no embed
/// parameters. Then
///
///     a_l = -(s_l - F_{l-1}(s_{l-1})) / beta,    a_0 = -(s_0 - embed(x)) / beta
///
/// and blocks and readout are trained at the nudged states, so that with Raw and InnerProduct block l's step follows
/// dE/dtheta_l / beta. At equilibrium a_l = dloss/dh_l + O(beta). With `centered` the states relax under +beta and
/// under -beta, and blocks and readout are trained at the free states:
///
///     a_l = -(residual_l(+beta) - residual_l(-beta)) / (2 beta) = dloss/dh_l + O(beta^2)
///
/// - Shapes: a_l has the shape of h_l. Credit is per sample, except that BatchNorm in train mode mixes samples.
/// - Reach: T steps move no more than the T topmost states, so credit further down (l < L + 1 - T) is exactly 0.
/// - Cost: T forward and backward passes (2 T if centered) through the readout and the blocks that the nudge has
///   reached, and the memory of one pass; gradients are taken with respect to the states alone.
/// - An input of whole numbers, such as token ids, that block 0 reads stays as it is.
/// - All evaluations run in the model's present mode; running statistics are left unchanged.
/// - Its normalizer is Raw: another would discard the scale that the energy gives the credit.
/// - Throws Error at bind if beta is 0 or not finite, steps is below 1, rate is not a finite number > 0, or the model
///   has a layer that draws in train mode, such as Dropout.
/// - Source: Scellier, Bengio, "Equilibrium propagation", Frontiers in Computational Neuroscience 11 (2017); the
///   centered form: Laborieux et al., "Scaling equilibrium propagation to deep ConvNets", Frontiers in Neuroscience 15
///   (2021).
struct EquilibriumPropagation {
  using Normalizer = Raw;

  double beta = 0.5;        ///< the strength of the nudge; a negative one nudges away from the target
  std::int64_t steps = 20;  ///< T
  double rate = 0.05;       ///< alpha
  bool centered = false;
  bool centred = false;  ///< deprecated name of `centered`: either one turns it on
  /// The states descend the batch mean of E instead of each sample's own E: a rate of alpha / B.
  bool inner_mean = false;
  /// Multiplies the credit by B, so that a step follows the batch sum of E.
  bool outer_sum = false;
  /// Trains the readout at the nudged s_L instead of at h_L (always at h_L if centered). s_L has seen the target.
  bool readout_at_nudged = true;

  struct State;

  template <class Model>
  State bind(Model& model, const BindContext& context) const;
};

struct EquilibriumPropagation::State {
  static constexpr bool data_parallel = true;

  EquilibriumPropagation rule;
  /// How far the last step's nudge moved each hidden state: the median over the batch of |s_l - h_l| / |h_l|, (L + 1);
  /// of the +beta phase if centered, and of this process' samples; undefined before the first step. Below the resolution of the dtype (1e-7 in
  /// float32) the credit is rounding noise.
  torch::Tensor relative_nudge;

  State(const EquilibriumPropagation& config, BindContext bound) : rule(config), context_(std::move(bound)) {}

  Reads reads() const { return Reads::Target | Reads::Hidden | Reads::Readout | Reads::Weights; }

  template <class Model>
  std::vector<torch::Tensor> credit(Model& model, const Trace& trace) {
    auto residuals = relax(model, trace, rule.beta);
    double factor = -1 / rule.beta;
    if (is_centered()) {
      const auto nudged = nudged_;
      const auto opposite = relax(model, trace, -rule.beta);
      nudged_ = nudged;
      for (std::size_t l = 0; l < residuals.size(); ++l) residuals[l] = residuals[l] - opposite[l];
      factor /= 2;
    }
    if (rule.outer_sum) factor *= samples_of_all(trace);
    for (auto& residual : residuals) residual = residual * factor;
    if (!has_embed(model)) residuals[0].reset();
    return residuals;
  }

  /// The nudged states, or the free states if centered.
  template <class Model>
  std::vector<torch::Tensor> local_inputs(Model& model, const Trace& trace) {
    if (is_centered()) return trace.hidden;
    if (!is_nudged_for(trace)) relax(model, trace, rule.beta);
    auto states = nudged_;
    if (!rule.readout_at_nudged) states.back() = trace.hidden.back();
    return states;
  }

  template <class Model>
  void after_step(Model&, const Trace& trace) {
    if (!is_nudged_for(trace)) return;  // the schedule gives this source no weight now
    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> medians;
    for (std::size_t l = 0; l < nudged_.size(); ++l) {
      if (!trace.hidden[l].is_floating_point()) {  // token ids, which are the input and stay
        medians.push_back(torch::zeros({}, trace.hidden.back().options()));
        continue;
      }
      const auto size = [](const torch::Tensor& h) { return at::linalg_vector_norm(h.flatten(1), 2, 1); };
      medians.push_back((size(nudged_[l] - trace.hidden[l]) / size(trace.hidden[l])).nanmedian());
    }
    relative_nudge = at::stack(medians);
    nudged_.clear();
    free_.reset();
  }

 private:
  /// B, of the batch of all processes.
  double samples_of_all(const Trace& trace) const {
    return static_cast<double>(context_.sample_range(trace.hidden[0].size(0)).all);
  }

  bool is_centered() const { return rule.centered || rule.centred; }

  /// Whether nudged_ belongs to this forward pass.
  bool is_nudged_for(const Trace& trace) const { return free_.defined() && free_.is_same(trace.hidden.back()); }

  /// Relaxes the states under the nudge, stores them in nudged_, and returns the residual s_l - F_{l-1}(s_{l-1}) of
  /// each.
  ///
  /// The free states are the energy's minimum: no force acts on a state before the one above it has moved. So step t
  /// evaluates only what the nudge has reached, s_{L+1-t} and up; everything below stays at exactly h_l.
  template <class Model>
  std::vector<torch::Tensor> relax(Model& model, const Trace& trace, double beta) {
    const scope::Untouched untouched(*model, trace.hidden[0].device());
    const auto last = static_cast<std::int64_t>(trace.branch.size());
    const std::int64_t bottom = has_embed(model) ? 0 : 1;
    const double rate = rule.inner_mean ? rule.rate / samples_of_all(trace) : rule.rate;
    std::int64_t first = last;
    free_ = trace.hidden.back();
    nudged_ = trace.hidden;
    for (std::int64_t step = 1; step <= rule.steps; ++step) {
      first = std::max(bottom, last + 1 - step);
      descend(model, trace, first, beta, rate);
    }

    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> residuals;
    for (std::int64_t l = 0; l < first; ++l) residuals.push_back(torch::zeros_like(trace.hidden[index(l)]));
    const auto predicted = predictions(model, trace, first);
    for (std::int64_t l = first; l <= last; ++l) {
      residuals.push_back(nudged_[index(l)] - predicted[index(l - first)]);
    }
    return residuals;
  }

  /// One gradient step of s_first..s_L.
  template <class Model>
  void descend(Model& model, const Trace& trace, std::int64_t first, double beta, double rate) {
    std::vector<torch::Tensor> states, forces, outputs, gradients;
    for (auto l = index(first); l < nudged_.size(); ++l) {
      nudged_[l] = nudged_[l].detach().requires_grad_();
      states.push_back(nudged_[l]);
    }
    {
      const torch::AutoGradMode grad(true);
      outputs = predictions(model, trace, first);
      outputs.push_back(model->readout(nudged_.back()));
    }
    const torch::NoGradGuard no_grad;
    for (std::size_t i = 0; i < states.size(); ++i) forces.push_back(states[i] - outputs[i]);
    for (std::size_t i = 1; i < states.size(); ++i) gradients.push_back(forces[i].neg());
    gradients.push_back(trace.error_at(outputs.back().detach()) * beta);
    outputs.erase(outputs.begin());  // the lowest prediction is fixed
    const auto pulled = torch::autograd::grad(outputs, states, gradients);
    for (std::size_t i = 0; i < states.size(); ++i) {
      nudged_[index(first) + i] = states[i].detach() - (forces[i] + pulled[i]) * rate;
    }
  }

  /// F_{first-1}(s_{first-1}) .. F_{L-1}(s_{L-1}); the first is h_first, since s_{first-1} has not moved.
  template <class Model>
  std::vector<torch::Tensor> predictions(Model& model, const Trace& trace, std::int64_t first) const {
    std::vector<torch::Tensor> predicted{trace.hidden[index(first)]};
    for (std::int64_t l = first; l < static_cast<std::int64_t>(trace.branch.size()); ++l) {
      const auto& s = nudged_[index(l)];
      predicted.push_back(model->join(l, s, model->block(l, s)));
    }
    return predicted;
  }

  static std::size_t index(std::int64_t l) { return static_cast<std::size_t>(l); }

  BindContext context_;
  torch::Tensor free_;                 ///< h_L of the forward pass that nudged_ belongs to
  std::vector<torch::Tensor> nudged_;  ///< s_0..s_L after that pass's last relaxation
};

template <class Model>
EquilibriumPropagation::State EquilibriumPropagation::bind(Model& model, const BindContext& context) const {
  detail::expect::that(beta != 0 && std::isfinite(beta), "EquilibriumPropagation", "beta", beta,
                       "a finite number other than 0: credit is divided by it");
  detail::expect::at_least("EquilibriumPropagation", "steps", steps, 1);
  detail::expect::positive("EquilibriumPropagation", "rate", rate);
  detail::refuse_draws("EquilibriumPropagation", *model, "the energy would be another function at each evaluation");
  return {*this, context};
}

}  // namespace creditlib
