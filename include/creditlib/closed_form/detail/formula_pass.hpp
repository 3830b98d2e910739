// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/pass/pass.hpp>
#include <vector>

namespace creditlib::detail {

/// A pass by formula that keeps its activations: ClosedFormPass on the CPU, StackedPass on other devices.
class FormulaPass : public Pass {
 public:
  /// x (B, in).
  virtual Trace forward(const torch::Tensor& x) = 0;

  /// Back-propagation: the gradients of a loss whose gradient in the logits is `error`, plus `branch_penalty` times the
  /// batch mean of ||f_l||^2 for each block.
  virtual std::vector<torch::Tensor> backpropagate(const torch::Tensor& error, double branch_penalty,
                                                   const std::vector<torch::Tensor>& parameters,
                                                   const GradientReady& ready) = 0;
};

}  // namespace creditlib::detail
