#pragma once

#include <torch/types.h>

#include <vector>

namespace creditlib::optim {

/// The gradient of a parameter in the parameter's own memory layout, as the fused kernels need it; undefined where there is none.
inline torch::Tensor aligned_gradient(const torch::Tensor& parameter) {
  const auto& gradient = parameter.grad();
  if (!gradient.defined() || gradient.strides() == parameter.strides()) return gradient;
  return torch::empty_like(parameter).copy_(gradient);
}

/// One zero tensor for each parameter, in its layout.
inline std::vector<torch::Tensor> zeros_like(const std::vector<torch::Tensor>& parameters) {
  std::vector<torch::Tensor> zeros;
  for (const auto& parameter : parameters) zeros.push_back(torch::zeros_like(parameter, torch::MemoryFormat::Preserve));
  return zeros;
}

}  // namespace creditlib::optim
