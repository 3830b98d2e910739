// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/autograd/autograd.h>

#include <creditlib/credit/credit_point.hpp>
#include <creditlib/credit/detail/credit_nets.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/scope/untouched.hpp>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace creditlib {

/// State credit: a net per hidden state predicts the last one; the credit is the gradient of that prediction's loss
/// through the true readout.
///
///     a_l = d/dh_l loss_b(readout(p_l)),    p_l = net_l(h_l, t_l, e),    trained on
///     mean_b ||(p_l - h_L) / max(1, ||h_L||)||^2
///
/// e is the error (B, C), held fixed in the gradient, and ||h_L|| the sample's own norm. With N nets, net i has time t
/// = i/N (h_0 has a net only if its estimate is used; h_L's net predicts its own input).
///
/// - Shapes: a_l has the shape of h_l and the scale of the gradient.
/// - Cost of credit: a forward and a backward pass of each net and of the readout. Reads the hidden states, the error,
///   the target and the readout, but no block.
/// - Learning reads the hidden states and the error alone.
/// - The readout runs in the model's present mode; its running statistics and LibTorch's global generators are left
///   unchanged.
/// - Throws Error at bind for an invalid option, and for BlockInput if a block changes the shape of the hidden state.
struct StatePredictor {
  double lr = 3e-4;                           ///< learning rate of Adam
  std::optional<double> clip = std::nullopt;  ///< largest norm of each net's gradients
  std::int64_t hidden = 256;                  ///< see CreditNetOptions
  std::int64_t layers = 2;
  std::int64_t time = 32;
  CreditPoint at = CreditPoint::BlockOutput;

  struct State;

  template <class Model>
  State bind(Model& model, const BindContext& context) const;
};

struct StatePredictor::State {
  static constexpr bool graphable = true, data_parallel = true;

  CreditPoint at;
  std::size_t first;        ///< the hidden state of net 0
  detail::CreditNets nets;  ///< one for each of h_first..h_L (..h_{L-1} if no slot holds the estimate at h_L)

  template <class Model>
  std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
    const torch::AutoGradMode grad(true);
    const scope::Untouched untouched(*model, trace.error.device());
    std::vector<torch::Tensor> logits, errors, states;
    for (std::size_t i = 0; i < nets.size(); ++i) {
      states.push_back(trace.hidden[first + i].detach().requires_grad_());
      logits.push_back(model->readout(prediction(i, states[i], pooled(trace.error)).view(trace.hidden.back().sizes())));
      errors.push_back(trace.error_at(logits[i].detach()));
    }
    const auto gradients = torch::autograd::grad(logits, states, errors);
    std::vector<torch::Tensor> estimates(trace.hidden.size());
    for (std::size_t i = 0; i < nets.size(); ++i) estimates[first + i] = gradients[i];
    return detail::as_credits(model, trace, at, std::move(estimates));
  }

  /// The terms that learn() minimizes, one scalar per net.
  template <class Model>
  std::vector<torch::Tensor> losses(Model&, const Trace& trace) const {
    const auto wanted = trace.hidden.back().flatten(1);
    const auto scale = wanted.norm(2, 1, /*keepdim=*/true).clamp_min(1);
    std::vector<torch::Tensor> losses;
    for (std::size_t i = 0; i < nets.size(); ++i) {
      const auto predicted = prediction(i, trace.hidden[first + i], pooled(trace.error));
      losses.push_back(((predicted - wanted) / scale).square().sum(1).mean());
    }
    return losses;
  }

  template <class Model>
  void learn(Model& model, const Trace& trace) {
    nets.descend(losses(model, trace), trace.error.size(0));
  }

  Reads reads() const { return Reads::Error | Reads::Target | Reads::Hidden | Reads::Readout; }
  NamedTensors named_tensors() const { return prefixed("nets", nets.named_tensors()); }

 private:
  /// The prediction of h_L from hidden state first + i, (B, size of h_L).
  torch::Tensor prediction(std::size_t i, const torch::Tensor& h, const torch::Tensor& e) const {
    return nets[i]->forward(h, static_cast<double>(i) / static_cast<double>(nets.size()), e);
  }
};

template <class Model>
StatePredictor::State StatePredictor::bind(Model& model, const BindContext& context) const {
  detail::expect::not_negative("StatePredictor", "lr", lr);
  if (clip) detail::expect::positive("StatePredictor", "clip", *clip);
  const auto shapes = hidden_shapes(model);
  detail::check_credit_point("StatePredictor", at, shapes);

  const std::size_t first = detail::first_estimate(model, at);
  const std::size_t last = at == CreditPoint::BlockInput ? shapes.size() - 2 : shapes.size() - 1;
  std::vector<CreditNet> nets;
  for (std::size_t l = first; l <= last; ++l) {
    nets.emplace_back(CreditNetOptions{.state = elements(shapes[l]),
                                       .condition = model->classes(),
                                       .output = elements(shapes.back()),
                                       .hidden = hidden,
                                       .layers = layers,
                                       .time = time},
                      context);
  }
  return {at, first, detail::CreditNets(std::move(nets), context, lr, clip)};
}

}  // namespace creditlib
