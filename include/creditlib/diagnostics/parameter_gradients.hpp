// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <creditlib/concepts.hpp>
#include <creditlib/detail/target_range.hpp>
#include <creditlib/error.hpp>
#include <creditlib/network/detail/gradients_of.hpp>
#include <creditlib/network/detail/parameter_parts.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/scope/untouched.hpp>
#include <utility>
#include <vector>

namespace creditlib::diagnostics {

/// The positions, in the order of distinct_parameters(*model), of the parameters of the embed, of each block and of the readout.
struct ParameterPositions {
  std::vector<std::size_t> embed = {};
  std::vector<std::vector<std::size_t>> blocks = {};
  std::vector<std::size_t> readout = {};

  std::vector<std::size_t> all() const {
    auto positions = embed;
    for (const auto& block : blocks) positions.insert(positions.end(), block.begin(), block.end());
    positions.insert(positions.end(), readout.begin(), readout.end());
    return positions;
  }
};

/// Throws Error unless each parameter belongs to exactly one part.
template <BlockModel Model>
ParameterPositions parameter_positions(Model& model) {
  auto parts = detail::parameter_parts(model);
  return {.embed = std::move(parts.embed), .blocks = std::move(parts.blocks), .readout = std::move(parts.readout)};
}

/// Throws Error, naming `who`, unless there is one gradient per parameter.
inline void check_gradient_count(const char* who, const ParameterPositions& parts,
                                 const std::vector<torch::Tensor>& gradients) {
  const auto expected = parts.all().size();
  if (gradients.size() == expected) return;
  detail::fail(who, ": ", gradients.size(), " parameter gradients, expected ", expected,
               ": one for each of the model's distinct_parameters(), undefined if it has no gradient.");
}

/// The joint norm of the gradients at `positions`, in float64; undefined gradients count as 0.
inline double gradient_norm(const std::vector<torch::Tensor>& gradients, const std::vector<std::size_t>& positions) {
  double squares = 0;
  for (const auto i : positions) {
    if (!gradients[i].defined()) continue;
    const double norm = gradients[i].detach().to(torch::kFloat64).norm().item<double>();
    squares += norm * norm;
  }
  return std::sqrt(squares);
}

/// Back-propagation's gradients of the batch's mean loss, in the order of distinct_parameters(*model); undefined for a
/// parameter that is frozen or that no gradient reaches. They are not clipped.
///
/// - In the model's present mode; nothing is changed.
/// - Cost: one forward and one backward pass.
/// - Throws Error for an unsuitable batch.
template <BlockModel Model, class Objective = CrossEntropy>
std::vector<torch::Tensor> parameter_gradients(Model& model, const torch::Tensor& x, const torch::Tensor& y,
                                               const Objective& objective = {}) {
  return detail::translated([&] {
    const torch::AutoGradMode grad(true);
    const scope::Untouched untouched(*model, x.device());
    const torch::Tensor logits = model->forward(x);
    detail::check_target(objective, logits, y);
    return detail::gradients_of({objective.loss(logits, y).mean()}, {{}}, detail::parameter_parts(model).all);
  });
}

}  // namespace creditlib::diagnostics
