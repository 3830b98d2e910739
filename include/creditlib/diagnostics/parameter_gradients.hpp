#pragma once

#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <creditlib/concepts.hpp>
#include <creditlib/detail/parameter_parts.hpp>
#include <creditlib/detail/untouched.hpp>
#include <creditlib/error.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <map>
#include <vector>

namespace creditlib::diagnostics {

/// Which of a model's parameters, in the order of parameters(), are the embed's, each block's and the readout's.
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

/// Throws Error for a model whose parts do not hold each parameter once.
template <BlockModel Model>
ParameterPositions parameter_positions(Model& model) {
  const auto parts = creditlib::detail::parameter_parts(model);
  std::map<const void*, std::size_t> position;
  for (std::size_t i = 0; i < parts.all.size(); ++i) position.emplace(parts.all[i].unsafeGetTensorImpl(), i);
  const auto of = [&](const std::vector<torch::Tensor>& parameters) {
    std::vector<std::size_t> positions;
    for (const auto& parameter : parameters) positions.push_back(position.at(parameter.unsafeGetTensorImpl()));
    return positions;
  };
  return {.embed = of(model->embed_parameters()), .blocks = parts.blocks, .readout = of(model->readout_parameters())};
}

namespace detail {

/// Throws Error unless there is one gradient a parameter.
inline void check_gradient_count(const char* who, const ParameterPositions& parts,
                                 const std::vector<torch::Tensor>& gradients) {
  const auto expected = parts.all().size();
  if (gradients.size() == expected) return;
  creditlib::detail::fail(who, ": ", gradients.size(), " parameter gradients, expected ", expected,
                          ": one for each of the model's parameters(), undefined where there is none.");
}

}  // namespace detail

/// The norm of the gradients at `positions` together, in float64; undefined ones count as 0.
inline double gradient_norm(const std::vector<torch::Tensor>& gradients, const std::vector<std::size_t>& positions) {
  double squares = 0;
  for (const auto i : positions) {
    if (!gradients[i].defined()) continue;
    const double norm = gradients[i].detach().to(torch::kFloat64).norm().item<double>();
    squares += norm * norm;
  }
  return std::sqrt(squares);
}

/// Back-propagation's gradients of the batch's mean loss, in the order of parameters(); undefined for a parameter that
/// is frozen or that no gradient reaches. Not clipped. In the model's present mode; nothing is changed. One forward and
/// one backward pass. Throws Error for a batch that the model or the objective does not take.
template <BlockModel Model, class Objective = CrossEntropy>
std::vector<torch::Tensor> parameter_gradients(Model& model, const torch::Tensor& x, const torch::Tensor& y,
                                               const Objective& objective = {}) {
  return creditlib::detail::translated([&] {
    const torch::AutoGradMode grad(true);
    const creditlib::detail::Untouched untouched(*model, x.device());
    const auto parameters = creditlib::detail::parameter_parts(model).all;
    std::vector<torch::Tensor> trainable;
    for (const auto& parameter : parameters) {
      if (parameter.requires_grad()) trainable.push_back(parameter);
    }
    std::vector<torch::Tensor> gradients(parameters.size());
    if (trainable.empty()) return gradients;
    const auto loss = objective.loss(model->forward(x), y).mean();
    auto found = torch::autograd::grad({loss}, trainable, {}, /*retain_graph=*/false, /*create_graph=*/false,
                                       /*allow_unused=*/true);
    for (std::size_t i = 0, next = 0; i < parameters.size(); ++i) {
      if (parameters[i].requires_grad()) gradients[i] = std::move(found[next++]);
    }
    return gradients;
  });
}

}  // namespace creditlib::diagnostics
