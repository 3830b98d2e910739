// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <creditlib/credit/credit_point.hpp>
#include <creditlib/credit/detail/credit_nets.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/network/shape.hpp>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace creditlib {

/// Value credit: a net per hidden state predicts the loss, and the gradient of its prediction is the credit.
///
///     a_l = dV_l/dh_l,    V_l = net_l(h_l, t_l, e),    trained on
///     last:    mean_b (V_L - loss_b)^2  (+ w mean_b ||dV_L/dh_L - dloss_b/dh_L||^2)
///     others:  mean_b (V_l - target)^2,    target = -lambda log mean_k exp(-V'_{l+1}(h_{l+1} + sigma n_k) / lambda)
///
/// e is the error (B, C), loss_b the sample's true loss, n_k ~ N(0, 1) for k = 1..K, and V' a copy of V that follows
/// it: V' <- ema V' + (1 - ema) V after each step. With N nets, net i has time t = i/N, which never reaches 1 (h_0 has
/// a net only if its estimate is used).
///
/// - Shapes: a_l has the shape of h_l and the scale of the gradient.
/// - Cost of credit: one forward and one backward pass of each net. Reads the hidden states and the error alone.
/// - Learning also reads the losses and, if w > 0, the gradient through the readout. No block is run again.
/// - e tells a net the loss almost directly, and if w = 0 nothing but that fit ties dV/dh to the gradient:
///   docs/policies/value_net.md says what accuracy it reaches.
/// - Throws Error at bind for an invalid option, and for BlockInput if a block changes the shape of the hidden state.
struct ValueNet {
  std::int64_t samples = 4;  ///< K
  double sigma = 0.01;
  double lambda = 0.1;
  double ema = 0.99;
  double terminal_gradient_weight = 0;  ///< w
  double lr = 3e-4;                     ///< learning rate of Adam
  std::optional<double> clip = 1.0;     ///< largest norm of each net's gradients
  std::int64_t hidden = 256;            ///< see CreditNetOptions
  std::int64_t layers = 3;
  std::int64_t time = 32;
  CreditPoint at = CreditPoint::BlockOutput;

  struct State;

  template <class Model>
  State bind(Model& model, const BindContext& context) const;
};

struct ValueNet::State {
  static constexpr bool data_parallel = true;

  ValueNet config;
  BindContext context;
  std::size_t first;               ///< the hidden state of net 0
  detail::CreditNets nets;         ///< one for each of h_first..h_L
  std::vector<CreditNet> targets;  ///< V', one for each of h_{first+1}..h_L

  template <class Model>
  std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
    const torch::AutoGradMode grad(true);
    const std::size_t read = config.at == CreditPoint::BlockInput ? nets.size() - 1 : nets.size();
    std::vector<torch::Tensor> values, states;
    for (std::size_t i = 0; i < read; ++i) {
      states.push_back(trace.hidden[first + i].detach().requires_grad_());
      values.push_back(value(nets[i], i, states[i], pooled(trace.error)).sum());
    }
    const auto gradients = torch::autograd::grad(values, states);
    std::vector<torch::Tensor> estimates(trace.hidden.size());
    for (std::size_t i = 0; i < read; ++i) estimates[first + i] = gradients[i];
    return detail::as_credits(model, trace, config.at, std::move(estimates));
  }

  /// The terms that learn() minimizes, one scalar per net. Draws the noise: K times the batch for each hidden state
  /// except the first.
  template <class Model>
  std::vector<torch::Tensor> losses(Model&, const Trace& trace) {
    const auto range = context.sample_range(trace.error.size(0));
    std::vector<torch::Tensor> losses;
    for (std::size_t i = 0; i + 1 < nets.size(); ++i) {
      const auto v = value(nets[i], i, trace.hidden[first + i], pooled(trace.error));
      losses.push_back((v - soft_minimum(i + 1, trace, range)).square().mean());
    }
    losses.push_back(terminal_loss(trace));
    return losses;
  }

  template <class Model>
  void learn(Model& model, const Trace& trace) {
    nets.descend(losses(model, trace), trace.error.size(0));
    const torch::NoGradGuard no_grad;
    const auto followers = detail::CreditNets::parameters_of(targets);
    if (followers.empty()) return;
    // Net 0 is not used as a target.
    const auto leaders = torch::TensorList(nets.parameters()).slice(nets.parameters().size() - followers.size());
    at::_foreach_lerp_(followers, leaders, 1 - config.ema);
  }

  Reads reads() const { return Reads::Error | Reads::Hidden; }
  NamedTensors named_tensors() const {
    auto named = prefixed("nets", nets.named_tensors());
    for (auto& entry : prefixed("targets", detail::CreditNets::named_tensors_of(targets))) {
      named.push_back(std::move(entry));
    }
    return named;
  }

 private:
  /// V at hidden state first + i, (B).
  torch::Tensor value(const CreditNet& net, std::size_t i, const torch::Tensor& h, const torch::Tensor& e) const {
    return net->forward(h, static_cast<double>(i) / static_cast<double>(nets.size()), e).squeeze(1);
  }

  /// -lambda log mean_k exp(-V'/lambda) at K noisy copies of hidden state first + i, (B).
  torch::Tensor soft_minimum(std::size_t i, const Trace& trace, const SampleRange& range) const {
    const torch::NoGradGuard no_grad;
    const auto h = trace.hidden[first + i].flatten(1);
    const auto noise = context.sample_randn({config.samples, h.size(0), h.size(1)}, range, /*at=*/1, config.sigma);
    const auto values =
        value(targets[i - 1], i, (h + noise).flatten(0, 1), pooled(trace.error).repeat({config.samples, 1}));
    const auto exponents = values.view({config.samples, h.size(0)}) / -config.lambda;
    return (exponents.logsumexp(0) - std::log(static_cast<double>(config.samples))) * -config.lambda;
  }

  torch::Tensor terminal_loss(const Trace& trace) const {
    const std::size_t i = nets.size() - 1;
    const bool matches_gradient = config.terminal_gradient_weight > 0;
    const auto h = trace.hidden.back().detach().requires_grad_(matches_gradient);
    const auto v = value(nets[i], i, h, pooled(trace.error));
    const auto loss = (v - trace.loss(trace.logits)).square().mean();
    if (!matches_gradient) return loss;
    const auto gradient = torch::autograd::grad({v.sum()}, {h}, {}, /*retain_graph=*/true, /*create_graph=*/true)[0];
    const auto mismatch = (gradient - trace.loss_gradient()).flatten(1).square().sum(1).mean();
    return loss + config.terminal_gradient_weight * mismatch;
  }
};

template <class Model>
ValueNet::State ValueNet::bind(Model& model, const BindContext& context) const {
  detail::expect::at_least("ValueNet", "samples (K)", samples, 1);
  detail::expect::not_negative("ValueNet", "sigma", sigma);
  detail::expect::positive("ValueNet", "lambda", lambda);
  detail::expect::that(ema >= 0 && ema < 1, "ValueNet", "ema", ema, "a number >= 0 and < 1");
  detail::expect::not_negative("ValueNet", "terminal_gradient_weight", terminal_gradient_weight);
  detail::expect::not_negative("ValueNet", "lr", lr);
  if (clip) detail::expect::positive("ValueNet", "clip", *clip);
  const auto shapes = hidden_shapes(model);
  detail::check_credit_point("ValueNet", at, shapes);

  const std::size_t first = detail::first_estimate(model, at);
  std::vector<CreditNet> nets, targets;
  for (std::size_t l = first; l < shapes.size(); ++l) {
    nets.emplace_back(CreditNetOptions{.state = elements(shapes[l]),
                                       .condition = model->classes(),
                                       .output = 1,
                                       .hidden = hidden,
                                       .layers = layers,
                                       .time = time},
                      context);
    if (l > first) targets.emplace_back(nets.back()->frozen_copy());
  }
  return {*this, context, first, detail::CreditNets(std::move(nets), context, lr, clip), std::move(targets)};
}

}  // namespace creditlib
