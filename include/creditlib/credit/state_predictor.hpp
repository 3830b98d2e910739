#pragma once

#include <torch/csrc/autograd/autograd.h>

#include <creditlib/credit/credit_point.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/credit/detail/credit_nets.hpp>
#include <creditlib/scope/untouched.hpp>
#include <creditlib/named_tensors.hpp>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace creditlib {

/// State credit (the state bridge): a net for each hidden state predicts the last one, and the loss of that prediction,
/// through the true readout, has a gradient: the credit.
///
///     a_l = d/dh_l loss_b(readout(p_l)),    p_l = net_l(h_l, t_l, e),    trained on
///     mean_b ||(p_l - h_L) / max(1, ||h_L||)||^2
///
/// e is the error (B, C), ||h_L|| the sample's own norm. With N nets net i has time t = i/N (h_0 has one only where its
/// estimate is read; that of h_L predicts its own input). e is held fixed in the gradient. a_l has the shape of h_l and
/// the scale of the gradient.
///
/// Credit costs a forward and a backward pass of each net and of the readout, and reads the hidden states, the error,
/// the target and the readout, no block. The readout runs in the model's present mode; its running statistics and
/// LibTorch's global generators are left as they were. Learning reads the hidden states and the error alone.
///
/// Throws Error at bind for options that cannot be meant, and for BlockInput where blocks change the shape.
/// Source: the state bridge of cnn_baseline.
struct StatePredictor {
  double lr = 3e-4;                           ///< of Adam
  std::optional<double> clip = std::nullopt;  ///< the norm of each net's gradients
  std::int64_t hidden = 256;                  ///< of each net, see CreditNetOptions
  std::int64_t layers = 2;
  std::int64_t time = 32;
  CreditPoint at = CreditPoint::BlockOutput;

  struct State;

  template <class Model>
  State bind(Model& model, const BindContext& context) const;
};

struct StatePredictor::State {
  CreditPoint at;
  std::size_t first;        ///< the hidden state that net 0 is for
  detail::CreditNets nets;  ///< of h_first..h_L; of h_first..h_{L-1} where no slot holds the estimate at h_L

  template <class Model>
  std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
    const torch::AutoGradMode grad(true);
    const scope::Untouched untouched(*model, trace.error.device());
    std::vector<torch::Tensor> logits, errors, states;
    for (std::size_t i = 0; i < nets.size(); ++i) {
      states.push_back(trace.hidden[first + i].detach().requires_grad_());
      logits.push_back(model->readout(prediction(i, states[i], trace.error).view(trace.hidden.back().sizes())));
      errors.push_back(trace.error_at(logits[i].detach()));
    }
    const auto gradients = torch::autograd::grad(logits, states, errors);
    std::vector<torch::Tensor> estimates(trace.hidden.size());
    for (std::size_t i = 0; i < nets.size(); ++i) estimates[first + i] = gradients[i];
    return detail::as_credits(model, trace, at, std::move(estimates));
  }

  /// What learn descends, a scalar for each net.
  template <class Model>
  std::vector<torch::Tensor> losses(Model&, const Trace& trace) const {
    const auto wanted = trace.hidden.back().flatten(1);
    const auto scale = wanted.norm(2, 1, /*keepdim=*/true).clamp_min(1);
    std::vector<torch::Tensor> losses;
    for (std::size_t i = 0; i < nets.size(); ++i) {
      const auto predicted = prediction(i, trace.hidden[first + i], trace.error);
      losses.push_back(((predicted - wanted) / scale).square().sum(1).mean());
    }
    return losses;
  }

  template <class Model>
  void learn(Model& model, const Trace& trace) {
    nets.descend(losses(model, trace));
  }

  NamedTensors named_tensors() const { return prefixed("nets", nets.named_tensors()); }

 private:
  /// Of h_L from hidden state first + i, (B, size of h_L).
  torch::Tensor prediction(std::size_t i, const torch::Tensor& h, const torch::Tensor& e) const {
    return nets[i]->forward(h, static_cast<double>(i) / static_cast<double>(nets.size()), e);
  }
};

template <class Model>
StatePredictor::State StatePredictor::bind(Model& model, const BindContext& context) const {
  detail::check_not_negative("StatePredictor", "lr", lr);
  if (clip) detail::check_positive("StatePredictor", "clip", *clip);
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
  return {at, first, detail::CreditNets(std::move(nets), lr, clip)};
}

}  // namespace creditlib
