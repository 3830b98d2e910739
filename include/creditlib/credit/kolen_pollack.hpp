// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/credit/detail/layer_feedback.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/error.hpp>
#include <creditlib/named_tensors.hpp>

namespace creditlib {

/// Kolen and Pollack's rule: feedback that gets the same increments as the weights, and decays as they do, until both
/// agree.
///
///     y = W x:    dloss/dx := B^T dloss/dy
///     after each step:    B := (1 - decay) B + (W_new - (1 - decay) W_old),    so that B - W shrinks by 1 - decay
///
/// - As LayerFA otherwise: at every layer, inside blocks too, from the same random B.
/// - `decay` is the weight decay of the published rule: both W and B decay by it. If the trainer's optimizer takes rate
///   times weight decay off W in a step, that number reads no weight; any other reads W itself as far as it differs.
/// - W_new - W_old is whatever has changed the weights since the last step: loading other weights counts as an
///   increment too.
/// - Cost: a step of Oracle, two copies of the weights, and a pass over them.
/// - Reads the error, its own B, and the increments of the weights.
/// - Throws Error at bind unless 0 <= decay <= 1.
/// - Source: Kolen, Pollack, "Backpropagation without weight transport" (1994); Akrout, Wilson, Humphreys, Lillicrap,
///   Tweed, "Deep learning without weight transport" (arXiv:1904.05391).
struct KolenPollack {
  using Normalizer = Raw;

  double decay = 1e-4;  ///< per step

  struct State : detail::ChainedCredit {
    static constexpr bool data_parallel = true;

    double decay;
    std::vector<torch::Tensor> feedback;  ///< B for each of model->parameters(), undefined for biases and gains
    std::vector<torch::Tensor> weights;   ///< W after the last step

    template <class Model>
    std::vector<torch::Tensor> transport(Model&) const {
      return feedback;
    }
    template <class Model>
    void after_step(Model& model, const Trace&) {
      const torch::NoGradGuard no_grad;
      const auto now = model->parameters();
      for (std::size_t i = 0; i < now.size(); ++i) {
        if (!feedback[i].defined()) continue;
        feedback[i].mul_(1 - decay).add_(now[i]).sub_(weights[i], 1 - decay);
        weights[i].copy_(now[i]);
      }
    }
    Reads reads() const { return Reads::Error; }
    NamedTensors named_tensors() const {
      auto named = numbered("feedback", feedback);
      for (auto& entry : numbered("weight", weights)) named.push_back(std::move(entry));
      return named;
    }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    detail::expect::that(decay >= 0 && decay <= 1, "KolenPollack", "decay", decay, "a number from 0 to 1");
    if (c10::elementSize(context.dtype) < 4) {
      detail::fail("KolenPollack: the model is ", detail::dtype_text(context.dtype),
                   ", in which most of what feedback ",
                   "loses and gains in a step is rounded away; train in float32 or float64.");
    }
    const auto parameters = model->parameters();
    return {{},
            decay,
            detail::drawn_feedback(parameters, context),
            detail::for_each_weight(parameters, [](std::size_t, const torch::Tensor& weight) { return weight; })};
  }
};

}  // namespace creditlib
