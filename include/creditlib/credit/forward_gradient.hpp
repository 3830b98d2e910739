// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/concepts.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <cstdint>
#include <vector>

namespace creditlib {

/// Forward gradient with perturbed activities: how fast each sample's loss changes along random directions of all hidden
/// states, times these directions.
///
///     a_l = mean_k s_k u_{l,k},    s_k = <e, sum_l (dlogits/dh_l) u_{l,k}>,    u_{l,k} ~ N(0, 1), k = 1..K
///
/// - Shapes: u_{l,k} and a_l have the shape of h_l; s_k is one number per sample.
/// - An unbiased estimate of each sample's gradient g_l, of variance (|g|^2 d_l + |g_l|^2) / K: d_l elements of h_l, and
///   g the gradient at all hidden states together.
/// - Cost: K pushforwards (Trace::pushforward); K times the numbers of all hidden states are drawn on the CPU.
/// - Reads the error and Jacobian-vector products. Nothing goes backward: the blocks' weights come in through s_k alone.
/// - With BatchNorm in train mode: of the sample's own loss alone, without what it does to those of other samples.
/// - Its normalizer is Raw. Under RowRms each direction counts alike, however flat the loss is along it.
/// - Throws Error at bind if directions is below 1.
/// - Source: Ren, Kornblith, Liao, Hinton, "Scaling forward gradient with local losses", ICLR 2023; Baydin, Pearlmutter,
///   Syme, Wood, Torr, "Gradients without backpropagation", arXiv 2202.08587 (2022), which perturbs the weights.
struct ForwardGradient {
  using Normalizer = Raw;

  std::int64_t directions = 1;  ///< K

  struct State;

  template <class Model>
  State bind(Model& model, const BindContext& context) const;
};

struct ForwardGradient::State {
  static constexpr bool wants_pushforward = true, data_parallel = true;

  std::int64_t directions;
  BindContext context;
  std::size_t first;  ///< the first hidden state with credit

  template <class Model>
  std::vector<torch::Tensor> credit(Model&, const Trace& trace) {
    const auto range = context.sample_range(trace.error.size(0));
    std::vector<torch::Tensor> credits(trace.hidden.size()), u(trace.hidden.size());
    for (std::int64_t k = 0; k < directions; ++k) {
      for (std::size_t l = first; l < u.size(); ++l) u[l] = context.sample_randn(trace.hidden[l].sizes(), range);
      const auto parts = along(trace, u);
      for (std::size_t l = first; l < u.size(); ++l) {
        credits[l] = credits[l].defined() ? credits[l].add_(parts[l]) : parts[l];
      }
    }
    for (std::size_t l = first; l < u.size(); ++l) credits[l].div_(static_cast<double>(directions));
    return credits;
  }

  Reads reads() const { return Reads::Error | Reads::Forward; }

  /// The estimate from one direction u of all hidden states; undefined where u is.
  static std::vector<torch::Tensor> along(const Trace& trace, const std::vector<torch::Tensor>& u) {
    const torch::NoGradGuard no_grad;
    const auto slope = (trace.error * trace.pushforward(u)).flatten(1).sum(1);
    std::vector<torch::Tensor> estimate(u.size());
    for (std::size_t l = 0; l < u.size(); ++l) {
      if (!u[l].defined()) continue;
      std::vector<std::int64_t> sizes(static_cast<std::size_t>(u[l].dim()), 1);
      sizes[0] = slope.size(0);
      estimate[l] = u[l] * slope.view(sizes);
    }
    return estimate;
  }
};

template <class Model>
ForwardGradient::State ForwardGradient::bind(Model& model, const BindContext& context) const {
  detail::expect::at_least("ForwardGradient", "directions (K)", directions, 1);
  return {directions, context, has_embed(model) ? std::size_t{0} : std::size_t{1}};
}

}  // namespace creditlib
