// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/concepts.hpp>
#include <creditlib/detail/target_range.hpp>
#include <creditlib/error.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/parameter_parts.hpp>
#include <creditlib/scope/untouched.hpp>
#include <vector>

namespace creditlib::diagnostics {

/// Steps on a model's parameters that are undone, to the bit, when it goes out of scope.
class TrialStep {
 public:
  explicit TrialStep(torch::nn::Module& module) : parameters_(distinct_parameters(module)), restored_(parameters_) {}

  /// p <- p - eta u for each parameter, in the order of distinct_parameters(); a parameter with an undefined u is unchanged.
  /// Throws Error unless there is one u per parameter, of its shape.
  void step(const std::vector<torch::Tensor>& update, double eta) {
    const torch::NoGradGuard no_grad;
    if (update.size() != parameters_.size()) {
      detail::fail("TrialStep: ", update.size(), " updates, expected one for each of the model's ", parameters_.size(),
                   " parameters.");
    }
    for (std::size_t i = 0; i < update.size(); ++i) {
      if (!update[i].defined()) continue;
      detail::translated([&] { parameters_[i].variable_data().sub_(update[i], eta); });
    }
  }

 private:
  std::vector<torch::Tensor> parameters_;
  scope::RestoredTensors restored_;
};

/// The mean loss of a batch in the model's present mode, averaged in float64. Nothing is changed. Waits for the device.
template <BlockModel Model, class Objective = CrossEntropy>
double mean_loss(Model& model, const torch::Tensor& x, const torch::Tensor& y, const Objective& objective = {}) {
  return detail::translated([&] {
    const torch::NoGradGuard no_grad;
    const scope::Untouched untouched(*model, x.device());
    const torch::Tensor logits = model->forward(x);
    detail::check_target(objective, logits, y);
    return objective.loss(logits, y).to(torch::kFloat64).mean().template item<double>();
  });
}

}  // namespace creditlib::diagnostics
