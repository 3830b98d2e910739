// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <creditlib/credit/credit_point.hpp>
#include <creditlib/credit/detail/credit_nets.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/network/detail/forward_from.hpp>
#include <creditlib/network/detail/samples_are_independent.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/scope/untouched.hpp>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace creditlib {

/// Vector credit: a net predicts the gradient directly; it is trained on the loss's response to small perturbations.
///
///     a_l = net(h_l, l/L, e),    trained on
///     mean_b ||a_L - dloss_b/dh_L||^2
///     + mean_{b,m} ( <a_l, v_m> - (loss_b(h_l + eps v_m) - loss_b(h_l - eps v_m)) / (2 eps) )^2,  one l < L per step
///
/// e is the error (B, C), v_m a unit direction per sample over all elements of h_l, and loss_b the sample's own loss,
/// through blocks l..L-1 and the readout. Hidden states of the same shape share one net.
///
/// - Shapes: a_l has the shape of h_l and the scale of the gradient.
/// - Cost of credit: one forward pass of a net per hidden state. Reads the hidden states and the error alone.
/// - Cost of learning: 2 M forward passes from h_l on, without gradients (for models with closed_form() as one batch),
///   and one net update. Also reads the gradient through the readout.
/// - Those passes run in the model's present mode, leave its running statistics and LibTorch's global generators
///   unchanged, and share their Dropout masks. With BatchNorm all samples of a batch are moved together, so a target
///   also holds the other samples' effect on this sample's loss.
/// - The projections of one hidden state weigh about 1/d of a full regression on the gradient.
/// - Throws Error at bind for an invalid option, and for BlockInput if a block changes the shape of the hidden state.
struct Vec {
  std::int64_t directions = 4;  ///< M
  double epsilon = 1e-3;
  /// Scales epsilon by the norm of the sample's h_l (not if that norm is 0): an absolute step is lost to rounding once
  /// h_l has grown.
  bool relative = false;
  double lr = 1e-3;                  ///< learning rate of Adam
  std::optional<double> clip = 1.0;  ///< largest norm of each net's gradients
  std::int64_t hidden = 256;         ///< see CreditNetOptions
  std::int64_t layers = 3;
  std::int64_t time = 32;
  CreditPoint at = CreditPoint::BlockOutput;

  struct State;

  template <class Model>
  State bind(Model& model, const BindContext& context) const;
};

struct Vec::State {
  static constexpr bool data_parallel = true;

  Vec config;
  BindContext context;
  std::size_t first;                ///< the first hidden state with an estimate
  std::vector<std::size_t> net_of;  ///< the index of each hidden state's net
  detail::CreditNets nets;
  bool as_one_batch;  ///< whether the 2 M forward passes run as one batch

  template <class Model>
  std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> estimates(trace.hidden.size());
    const std::size_t read = config.at == CreditPoint::BlockInput ? estimates.size() - 1 : estimates.size();
    for (std::size_t l = first; l < read; ++l) estimates[l] = estimate(trace, l);
    return detail::as_credits(model, trace, config.at, std::move(estimates));
  }

  /// The two terms that learn() minimizes: terminal and perturbation matching (the first alone if no hidden state below
  /// h_L has an estimate). Draws the hidden state, then M directions.
  template <class Model>
  std::vector<torch::Tensor> losses(Model& model, const Trace& trace) {
    const std::size_t last = trace.hidden.size() - 1;
    const auto gradient = trace.loss_gradient().flatten(1);
    std::vector<torch::Tensor> losses{(estimate(trace, last) - gradient).square().sum(1).mean()};
    if (first < last) losses.push_back(perturbation_matching(model, trace, drawn_layer(last)));
    return losses;
  }

  template <class Model>
  void learn(Model& model, const Trace& trace) {
    nets.descend(losses(model, trace), trace.error.size(0));
  }

  Reads reads() const { return Reads::Error | Reads::Hidden; }
  NamedTensors named_tensors() const { return prefixed("nets", nets.named_tensors()); }

 private:
  /// The estimate at h_l, (B, size of h_l).
  torch::Tensor estimate(const Trace& trace, std::size_t l) const {
    const double t = static_cast<double>(l) / static_cast<double>(trace.hidden.size() - 1);
    return nets[net_of[l]]->forward(trace.hidden[l], t, pooled(trace.error));
  }

  std::size_t drawn_layer(std::size_t last) const {
    const auto drawn = at::randint(static_cast<std::int64_t>(first), static_cast<std::int64_t>(last), {1},
                                   context.generator, torch::TensorOptions(torch::kInt64));
    return static_cast<std::size_t>(drawn.item<std::int64_t>());
  }

  template <class Model>
  torch::Tensor perturbation_matching(Model& model, const Trace& trace, std::size_t l) const {
    const auto v = unit_directions(trace.hidden[l]);
    return ((estimate(trace, l) * v).sum(2) - slopes(model, trace, l, v)).square().mean();
  }

  /// M unit directions per sample, (M, B, size of h_l).
  torch::Tensor unit_directions(const torch::Tensor& h) const {
    const auto range = context.sample_range(h.size(0));
    std::vector<torch::Tensor> directions;
    for (std::int64_t m = 0; m < config.directions; ++m) {
      directions.push_back(context.sample_randn(h.sizes(), range).flatten(1));
    }
    const auto v = at::stack(directions);
    return v / v.norm(2, 2, /*keepdim=*/true);
  }

  /// The central difference of each sample's loss along each of its directions, (M, B).
  template <class Model>
  torch::Tensor slopes(Model& model, const Trace& trace, std::size_t l, const torch::Tensor& v) const {
    const torch::NoGradGuard no_grad;
    const auto h = trace.hidden[l].flatten(1);
    auto epsilon = torch::full({1}, config.epsilon, h.options());
    if (config.relative) {
      const auto norm = h.norm(2, 1);
      epsilon = config.epsilon * torch::where(norm > 0, norm, 1);
    }
    const auto step = v * epsilon.unsqueeze(1);
    const auto losses = losses_at(model, trace, l, at::cat({h + step, h - step}));
    return (losses.narrow(0, 0, config.directions) - losses.narrow(0, config.directions, config.directions)) /
           (2 * epsilon);
  }

  /// The loss per sample, (N, B), with h_l replaced by N sets of states, (N, B, size of h_l).
  template <class Model>
  torch::Tensor losses_at(Model& model, const Trace& trace, std::size_t l, const torch::Tensor& states) const {
    const auto run = [&](const torch::Tensor& moved) {
      const scope::Untouched untouched(*model, moved.device());
      auto sizes = trace.hidden[l].sizes().vec();
      sizes[0] = -1;
      return trace.loss(detail::forward_from(model, static_cast<std::int64_t>(l), moved.view(sizes)));
    };
    if (as_one_batch) return run(states.flatten(0, 1)).view({states.size(0), states.size(1)});
    const scope::Untouched all_draw_the_same(*model, states.device());
    std::vector<torch::Tensor> losses;
    for (std::int64_t n = 0; n < states.size(0); ++n) losses.push_back(run(states[n]));
    return at::stack(losses);
  }
};

template <class Model>
Vec::State Vec::bind(Model& model, const BindContext& context) const {
  detail::expect::at_least("Vec", "directions (M)", directions, 1);
  detail::expect::positive("Vec", "epsilon", epsilon);
  detail::expect::not_negative("Vec", "lr", lr);
  if (clip) detail::expect::positive("Vec", "clip", *clip);
  const auto shapes = hidden_shapes(model);
  detail::check_credit_point("Vec", at, shapes);

  const std::size_t first = detail::first_estimate(model, at);
  std::vector<std::vector<std::int64_t>> own;
  std::vector<std::size_t> net_of(shapes.size());
  std::vector<CreditNet> nets;
  for (std::size_t l = first; l < shapes.size(); ++l) {
    net_of[l] = static_cast<std::size_t>(std::find(own.begin(), own.end(), shapes[l]) - own.begin());
    if (net_of[l] < own.size()) continue;
    own.push_back(shapes[l]);
    const std::int64_t size = elements(shapes[l]);
    nets.emplace_back(CreditNetOptions{.state = size,
                                       .condition = model->classes(),
                                       .output = size,
                                       .hidden = hidden,
                                       .layers = layers,
                                       .time = time},
                      context);
  }
  return {*this,
          context,
          first,
          std::move(net_of),
          detail::CreditNets(std::move(nets), context, lr, clip),
          detail::samples_are_independent(model)};
}

}  // namespace creditlib
