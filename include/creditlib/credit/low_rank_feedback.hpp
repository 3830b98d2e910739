// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <creditlib/credit/detail/layer_feedback.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/optim/adamw.hpp>

namespace creditlib {

/// Low-rank feedback that learns: a product P Q of few columns stands in the place of each weight on the way down.
///
///     y = W x:    dloss/dx := (P Q)^T dloss/dy,    P (out, rank),  Q (rank, in)
///     after each step:  P and Q descend along D Q^T and P^T D by Adam, D = dloss/dW,  or P Q - W if reads_weights
///
/// - As LayerFA otherwise: at every layer, inside blocks too. A kernel (out, in, ...) is the matrix (out, in * kernel).
/// - P and Q start at the best approximation of W, P = U sqrt(S), Q = sqrt(S) V^T of its singular values.
/// - rank is cut to the smaller side of each weight: there feedback starts as W itself.
/// - Cost: a step of Oracle, the products P Q, and two products for each weight. Feedback is multiplied out, so that a
///   step saves no time by its rank.
/// - Credit reads the error alone, which is what reads() says; learning reads the weights' gradients, or with
///   reads_weights the weights themselves.
/// - Throws Error at bind for a rank below 1 or a learning rate below 0.
/// - Source: Hanut, Kadmon, "Training large neural networks with low-dimensional error feedback" (arXiv:2502.20580).
struct LowRankFeedback {
  using Normalizer = Raw;

  std::int64_t rank = 32;
  double lr = 1e-3;            ///< of P and Q
  bool reads_weights = false;  ///< descend the squared distance of P Q from W, instead of following W's gradient

  struct State : detail::ChainedCredit {
    static constexpr bool data_parallel = true;

    bool reads_weights;
    std::vector<torch::Tensor> left,
        right;               ///< P and Q for each of model->parameters(), undefined for biases and gains
    optim::AdamW optimizer;  ///< of all P, then all Q

    template <class Model>
    std::vector<torch::Tensor> transport(Model& model) const {
      return detail::for_each_weight(model->parameters(), [&](std::size_t i, const torch::Tensor& weight) {
        return left[i].mm(right[i]).view(weight.sizes());
      });
    }
    template <class Model>
    void after_step(Model& model, const Trace&) {
      const torch::NoGradGuard no_grad;
      const auto parameters = model->parameters();
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        if (!left[i].defined()) continue;
        const auto distance = distance_of(i, parameters[i]);
        left[i].mutable_grad() = distance.defined() ? distance.mm(right[i].t()) : distance;
        right[i].mutable_grad() = distance.defined() ? left[i].t().mm(distance) : distance;
      }
      optimizer.step();
    }
    Reads reads() const { return Reads::Error; }
    NamedTensors named_tensors() const {
      auto named = numbered("left", left);
      for (auto& entry : numbered("right", right)) named.push_back(std::move(entry));
      for (auto& entry : prefixed("optimizer", optimizer.named_tensors())) named.push_back(std::move(entry));
      return named;
    }

   private:
    torch::Tensor distance_of(std::size_t i, const torch::Tensor& weight) const {
      if (reads_weights) return left[i].mm(right[i]) - weight.detach().flatten(1);
      return weight.grad().defined() ? weight.grad().flatten(1) : torch::Tensor();
    }
  };

  template <class Model>
  State bind(Model& model, const BindContext&) const {
    detail::expect::at_least("LowRankFeedback", "rank", rank, 1);
    detail::expect::not_negative("LowRankFeedback", "lr", lr);
    const torch::NoGradGuard no_grad;
    const auto parameters = model->parameters();
    std::vector<torch::Tensor> left(parameters.size()), right(parameters.size()), learned;
    detail::for_each_weight(parameters, [&](std::size_t i, const torch::Tensor& weight) {
      const auto matrix = weight.flatten(1).to(torch::kCPU, torch::kFloat64);
      const auto k = std::min({rank, matrix.size(0), matrix.size(1)});
      const auto [u, s, vt] = at::linalg_svd(matrix, /*full_matrices=*/false);
      const auto root = s.narrow(0, 0, k).sqrt();
      left[i] = (u.narrow(1, 0, k) * root).contiguous().to(weight.options());
      right[i] = (root.unsqueeze(1) * vt.narrow(0, 0, k)).contiguous().to(weight.options());
      return weight;
    });
    for (const auto* side : {&left, &right}) {
      for (const auto& tensor : *side) {
        if (tensor.defined()) learned.push_back(tensor);
      }
    }
    return {{}, reads_weights, left, right, optim::AdamW(learned, {.lr = lr, .weight_decay = 0})};
  }
};

}  // namespace creditlib
