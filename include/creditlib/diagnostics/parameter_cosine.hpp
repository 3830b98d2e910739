// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/diagnostics/cosine.hpp>
#include <creditlib/diagnostics/parameter_gradients.hpp>
#include <vector>

namespace creditlib::diagnostics {

/// Cosines of two lists of parameter gradients, part by part.
struct ParameterCosine {
  Measured embed = {};
  std::vector<Measured> blocks = {};
  Measured readout = {};
  Measured all = {};  ///< of all parameters as one vector
};

/// The direction of an update: the cosine of a rule's parameter gradients with back-propagation's, for each part of the
/// model.
///
///     cos(u, g) over the parameters of the embed, of each block, of the readout
///
/// - Both lists are in the order of distinct_parameters(*model) (a trainer's gradients(x, y), and
///   parameter_gradients()).
/// - Unlike Gamma and rho it reflects the normalizer and the local loss. Clipping a block scales its gradients together
///   and does not change it.
/// - A gradient that is undefined in one list alone counts as 0. A part without parameters, or with gradients that are
///   0 or not finite, has no cosine.
/// - Waits for the device.
/// - Throws Error unless both lists have one gradient per parameter.
template <BlockModel Model>
ParameterCosine parameter_cosine(Model& model, const std::vector<torch::Tensor>& rule,
                                 const std::vector<torch::Tensor>& backprop) {
  return detail::translated([&] {
    const torch::NoGradGuard no_grad;
    const auto parts = parameter_positions(model);
    check_gradient_count("parameter_cosine", parts, rule);
    check_gradient_count("parameter_cosine", parts, backprop);
    const auto of = [&](const std::vector<std::size_t>& positions) -> Measured {
      if (positions.empty()) return {.reason = "there are no parameters here"};
      std::vector<torch::Tensor> u, g;
      const auto add = [&](std::vector<torch::Tensor>& flat, const torch::Tensor& own, const torch::Tensor& other) {
        flat.push_back((own.defined() ? own.detach() : torch::zeros_like(other)).flatten());
      };
      for (const auto i : positions) {
        if (!rule[i].defined() && !backprop[i].defined()) continue;
        add(u, rule[i], backprop[i]);
        add(g, backprop[i], rule[i]);
      }
      if (u.empty()) return {.reason = "there are no gradients here"};
      return cosine(at::cat(u), at::cat(g));
    };
    ParameterCosine found{.embed = of(parts.embed), .readout = of(parts.readout), .all = of(parts.all())};
    for (const auto& block : parts.blocks) found.blocks.push_back(of(block));
    return found;
  });
}

}  // namespace creditlib::diagnostics
