// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <vector>

namespace creditlib::detail {

/// A parameter's gradient in the parameter's memory layout, as the fused kernels require; undefined if there is none.
/// Throws Error if its shape, dtype or device differs from the parameter's, which the kernels do not check.
inline torch::Tensor aligned_gradient(const torch::Tensor& parameter) {
  const auto& gradient = parameter.grad();
  if (!gradient.defined()) return gradient;
  if (gradient.sizes() != parameter.sizes() || gradient.scalar_type() != parameter.scalar_type() ||
      gradient.device() != parameter.device()) {
    fail("The gradient of a parameter is ", tensor_text(gradient), ", expected ", tensor_text(parameter),
         " like the parameter.");
  }
  if (gradient.strides() == parameter.strides()) return gradient;
  return torch::empty_like(parameter).copy_(gradient);
}

/// The gradients of all parameters, so that all are checked before the first update.
inline std::vector<torch::Tensor> aligned_gradients(const std::vector<torch::Tensor>& parameters) {
  std::vector<torch::Tensor> gradients;
  gradients.reserve(parameters.size());
  for (const auto& parameter : parameters) gradients.push_back(aligned_gradient(parameter));
  return gradients;
}

/// One zero tensor per parameter, in its layout.
inline std::vector<torch::Tensor> zeros_like(const std::vector<torch::Tensor>& parameters) {
  std::vector<torch::Tensor> zeros;
  for (const auto& parameter : parameters) zeros.push_back(torch::zeros_like(parameter, torch::MemoryFormat::Preserve));
  return zeros;
}

}  // namespace creditlib::detail
