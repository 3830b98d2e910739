// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/credit/detail/layer_feedback.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/named_tensors.hpp>

namespace creditlib {

/// A weight mirror: feedback learns each weight from the layer's answers to noise.
///
///     y = W x:    dloss/dx := B^T dloss/dy
///     after each step, for each weight by itself:
///       x ~ U(-noise, noise),  y = W x,    B := B + rate sum over samples of y x^T,  then scaled to the norm that it had
///
/// - As LayerFA otherwise: at every layer, inside blocks too, from the same random B. Since E[y x^T] = (noise^2 / 3) W, B
///   turns towards W; its norm stays.
/// - A convolution's kernel is mirrored as the matrix (out, in * kernel) on independent patches of noise.
/// - Cost: a step of Oracle, a copy of the weights, and two products of `samples` rows for each weight.
/// - Reads the error, its own B, and what each layer answers to noise.
/// - Throws Error at bind for a rate or noise that is not positive, and for fewer samples than 1.
/// - Source: Akrout, Wilson, Humphreys, Lillicrap, Tweed, "Deep learning without weight transport" (arXiv:1904.05391).
///   The paper fixes the scale of B x instead of the norm of B, and mirrors through the layer's activation.
struct WeightMirror {
  using Normalizer = Raw;

  double rate = 0.01;
  double noise = 0.1;
  std::int64_t samples = 128;

  struct State : detail::ChainedCredit {
    static constexpr bool data_parallel = true;

    double rate, noise;
    std::int64_t samples;
    BindContext context;
    std::vector<torch::Tensor> feedback;  ///< B for each of model->parameters(), undefined for biases and gains

    template <class Model>
    std::vector<torch::Tensor> transport(Model&) const {
      return feedback;
    }
    template <class Model>
    void after_step(Model& model, const Trace&) {
      mirror(model->parameters());
    }
    /// One round of mirroring, which is what a step ends with. A run may begin with some.
    void mirror(const std::vector<torch::Tensor>& parameters) {
      const torch::NoGradGuard no_grad;
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        if (!feedback[i].defined()) continue;
        const auto weight = parameters[i].detach().flatten(1), before = feedback[i].flatten(1);
        const auto x = context.step_uniform({samples, weight.size(1)}, noise);
        auto after = torch::addmm(before, weight.mm(x.t()), x, 1, rate);
        after.mul_(before.norm() / after.norm().clamp_min(1e-30));
        feedback[i].copy_(after.view(feedback[i].sizes()));
      }
    }
    Reads reads() const { return Reads::Error; }
    NamedTensors named_tensors() const { return numbered("feedback", feedback); }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    detail::expect::positive("WeightMirror", "rate", rate);
    detail::expect::positive("WeightMirror", "noise", noise);
    detail::expect::at_least("WeightMirror", "samples", samples, 1);
    return {{}, rate, noise, samples, context, detail::drawn_feedback(model->parameters(), context)};
  }
};

}  // namespace creditlib
