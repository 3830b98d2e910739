// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/credit/detail/feedback.hpp>
#include <creditlib/credit/detail/layer_feedback.hpp>
#include <creditlib/error.hpp>
#include <creditlib/named_tensors.hpp>
#include <map>

namespace creditlib {

/// Feedback alignment at every layer: a fixed random tensor B stands in the place of each weight W on the way down,
/// inside blocks too, in linear layers, convolutions, and attention's projections.
///
///     y = W x:    dloss/dx := B^T dloss/dy,    dloss/dW = dloss/dy x^T, as always
///
/// - Everything else carries the error as in back-propagation: activations' derivatives, normalization, softmax, skips.
/// - B has the sizes of W, drawn from U(-b, b), b = sqrt(6 / (fan in + fan out)); parameters with one dimension (biases,
///   gains) are not replaced.
/// - Cost: a step of Oracle, and a copy of the weights.
/// - Reads the error, and no forward weight.
/// - Throws Error at bind for explicit feedback that does not fit, and for parameters that share a buffer.
/// - Source: Lillicrap, Cownden, Tweed, Akerman, "Random synaptic feedback weights support error backpropagation for
///   deep learning", Nature Communications 7 (2016); its form for any layer follows Sanfiz and Akrout, "Benchmarking the
///   accuracy and robustness of feedback alignment algorithms" (arXiv:2108.13446). FA has one matrix per block instead.
struct LayerFA {
  using Normalizer = Raw;

  /// One for each of model->parameters(), of its sizes; undefined: not replaced. They are copied, then cast and moved to
  /// the model's dtype and device, and nothing is drawn. If empty, they are drawn at bind.
  std::vector<torch::Tensor> feedback = {};

  struct State : detail::ChainedCredit {
    std::vector<torch::Tensor> feedback;  ///< one for each of model->parameters(), undefined if it is not replaced

    template <class Model>
    std::vector<torch::Tensor> transport(Model&) const {
      return feedback;
    }
    Reads reads() const { return Reads::Error; }
    NamedTensors named_tensors() const { return numbered("feedback", feedback); }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    const auto parameters = model->parameters();
    if (feedback.empty()) return {{}, detail::drawn_feedback(parameters, context)};
    detail::check_feedback_count("LayerFA", feedback.size(), parameters.size(), "one per parameter of the model");
    const torch::NoGradGuard no_grad;
    State state{{}, std::vector<torch::Tensor>(parameters.size())};
    std::map<const void*, std::size_t> first;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (!feedback[i].defined()) continue;
      const auto copy = detail::explicit_feedback("LayerFA", i, feedback[i], parameters[i].sizes(),
                                                  "the sizes of that parameter", context);
      const auto [known, is_new] = first.emplace(parameters[i].unsafeGetTensorImpl(), i);
      if (is_new) {
        state.feedback[i] = torch::empty_like(parameters[i].detach()).copy_(copy);
      } else if (!copy.equal(state.feedback[known->second])) {
        detail::fail("LayerFA: the model's parameters() list one parameter as ", known->second, " and ", i,
                     ", with two different feedback tensors; give it one, and leave the second undefined.");
      }
    }
    return state;
  }
};

}  // namespace creditlib
