// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cmath>
#include <creditlib/concepts.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <set>
#include <vector>

/// Shared by the rules that carry the error down through every layer, inside blocks too, by other tensors in the place
/// of the weights.
namespace creditlib::detail {

/// Their credit: the chain rule. Since their states have `transport`, it goes through what stands in the place of the
/// weights.
struct ChainedCredit {
  template <class Model>
  std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
    return Oracle{}.credit(model, trace);
  }
};

/// For each parameter that is a matrix or a kernel, make(i, parameter) in the parameter's memory layout; undefined for
/// the others (biases, gains of layer norms), and for a parameter that was listed before.
template <class Make>
std::vector<torch::Tensor> for_each_weight(const std::vector<torch::Tensor>& parameters, const Make& make) {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> made(parameters.size());
  std::set<const void*> seen;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto weight = parameters[i].detach();
    if (weight.dim() < 2 || !seen.insert(parameters[i].unsafeGetTensorImpl()).second) continue;
    made[i] = torch::empty_like(weight).copy_(make(i, weight));
  }
  return made;
}

/// The numbers that one output and one input of a weight (out, in, ...) are connected to.
struct Fans {
  double in, out;
};
inline Fans fans_of(const torch::Tensor& weight) {
  const auto all = static_cast<double>(weight.numel());
  return {all / static_cast<double>(weight.size(0)), all / static_cast<double>(weight.size(1))};
}

/// Half the width of the uniform distribution that Glorot and Bengio (2010) draw a weight from.
inline double glorot_bound(const torch::Tensor& weight) {
  const auto [in, out] = fans_of(weight);
  return std::sqrt(6 / (in + out));
}

/// Feedback drawn as the weights often are.
inline std::vector<torch::Tensor> drawn_feedback(const std::vector<torch::Tensor>& parameters,
                                                 const BindContext& context) {
  return for_each_weight(parameters, [&](std::size_t, const torch::Tensor& weight) {
    return context.uniform(weight.sizes(), glorot_bound(weight));
  });
}

}  // namespace creditlib::detail
