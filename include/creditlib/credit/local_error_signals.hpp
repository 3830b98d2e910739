// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <creditlib/credit/detail/head_layers.hpp>
#include <creditlib/credit/detail/labels_of.hpp>
#include <creditlib/credit/detail/similarity.hpp>
#include <creditlib/credit/local_heads.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/distributed/gather.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <cstdint>
#include <memory>

namespace creditlib {

namespace detail {

class PredSimNetImpl : public torch::nn::Module {
 public:
  PredSimNetImpl(const HeadInput& input, double beta, std::int64_t pooled) : layout(input.layout), group(input.group) {
    if (beta > 0) projection = register_module("projection", SameShapeLayer(input));
    if (beta < 1) {
      predictor =
          register_module("predictor", ClassScores(HeadView("LocalErrorSignals", input, grid_within(input, pooled)),
                                                   input.classes, /*with_bias=*/true));
      const torch::NoGradGuard no_grad;
      predictor->weight.zero_();
    }
  }

  HiddenLayout layout;
  std::shared_ptr<distributed::Group> group;
  ClassScores predictor = nullptr;      ///< of beta < 1
  SameShapeLayer projection = nullptr;  ///< of beta > 0
};
TORCH_MODULE(PredSimNet);

/// The head of LocalErrorSignals.
struct PredSimHead {
  static constexpr bool couples_samples = true, data_parallel = true, graphable = true;
  double beta = 0.99;
  std::int64_t pooled = 2048;

  PredSimNet module(const HeadInput& input) const {
    if (beta > 0 && input.per_position()) {
      fail("LocalErrorSignals: beta is ", beta,
           ", and similarities are of samples with one label each, but the logits ", shape_text(input.logits),
           " have a class per position; use beta = 0.");
    }
    return PredSimNet(input, beta, pooled);
  }

  torch::Tensor loss(PredSimNet& net, const torch::Tensor& h, const Trace& trace) const {
    if (beta == 0) return trace.loss(net->predictor->forward(h));
    if (beta == 1) return similarity_loss(net, h, trace);
    return similarity_loss(net, h, trace) * beta + trace.loss(net->predictor->forward(h)) * (1 - beta);
  }

 private:
  /// Row b of the squared differences, their mean: the mean over b is the mean square of the matrix. In several processes
  /// the matrix is of all samples.
  torch::Tensor similarity_loss(PredSimNet& net, const torch::Tensor& h, const Trace& trace) const {
    const auto labels = labels_of("LocalErrorSignals: beta > 0", trace);
    if (labels.is_cpu() && labels.lt(0).any().item<bool>()) {
      fail("LocalErrorSignals: beta > 0 compares all samples by their class, but a label is ",
           labels.min().item<std::int64_t>(), "; leave out samples that do not count (ignore_index), or use beta = 0.");
    }
    const auto compared = compared_by(net->projection->forward(h), net->layout);
    const auto classes = at::one_hot(labels, trace.logits.size(1)).to(h.scalar_type());
    const auto samples = distributed::gather(*net->group, {compared, classes});
    const auto squares = (similarities(samples.all[0]) - similarities(samples.all[1])).square();
    return distributed::own_losses(samples, squares.mean(1));
  }
};

}  // namespace detail

/// Local error signals: each hidden state predicts the class through a linear layer of its own, and its similarities
/// between samples are brought to those of the labels.
///
///     loss_b = (1 - beta) CE(W h_l + c, y_b) + beta mean_j (S(V h_l)_bj - S(onehot(y))_bj)^2
///     S(z)_bj = cosine of z_b and z_j, each centered over its own numbers
///
/// beta = 0 is `pred`, 1 is `sim`, .99 is `predsim`. W starts at 0, so that credit of beta = 0 is 0 in the first step.
///
/// - Shapes: a_l has the shape of h_l; W reads a map (C, H, W) or tokens (N, d) averaged over cells of a grid, `pooled`
///   numbers at most. V is a linear layer on (d) and (N, d), a convolution of kernel 3 on maps, whose S compares each
///   feature's standard deviation over positions.
/// - pred is the trainer's objective, so that beta = 0 trains a regression too, and logits with positions: the layer
///   then has an output per class at each position.
/// - With beta > 0 a sample's credit depends on the rest of its batch, in several processes on the samples of all.
/// - Cost: a linear layer with C outputs, and with beta > 0 one with as many outputs as h_l has features, and B^2 cosines;
///   forward and backward. Reads the hidden states and the label.
/// - Throws Error at bind for an invalid option, for logits with positions if beta > 0 or if h_l has others, and with
///   beta > 0 for an objective without labels; in a step with beta > 0 for targets that are no labels.
/// - Source: Nøkland, Eidnes, "Training neural networks with local error signals", ICML 2019.
struct LocalErrorSignals {
  using Normalizer = Raw;
  using State = LocalHeads<detail::PredSimHead>::State;

  double beta = 0.99;
  double lr = 5e-4;  ///< learning rate of the heads' AdamW
  double weight_decay = 0;
  std::int64_t pooled = 2048;  ///< the most numbers of a sample that W reads

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    detail::expect::that(beta >= 0 && beta <= 1, "LocalErrorSignals", "beta", beta, "a number from 0 to 1");
    detail::expect::not_negative("LocalErrorSignals", "lr", lr);
    detail::expect::not_negative("LocalErrorSignals", "weight_decay", weight_decay);
    detail::expect::at_least("LocalErrorSignals", "pooled", pooled, 1);
    if (beta > 0) detail::require_labels("LocalErrorSignals: beta > 0", context);
    return LocalHeads<detail::PredSimHead>{
        .head = {.beta = beta, .pooled = pooled}, .lr = lr, .weight_decay = weight_decay}
        .bind(model, context);
  }
};

}  // namespace creditlib
