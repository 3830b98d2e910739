// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/MemoryOverlap.h>
#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <vector>

namespace creditlib::detail {

/// A parameter and its gradient as the fused kernels require them, which go through memory in order: both fill their
/// memory, in one layout. The gradient is undefined if there is none.
struct KernelPair {
  torch::Tensor parameter;  ///< the parameter itself or, of a view with gaps, a copy
  torch::Tensor gradient;
};

/// Throws Error if the gradient's shape, dtype or device differs from the parameter's, which the kernels do not check,
/// or if elements of the parameter share memory.
inline KernelPair kernel_pair(const torch::Tensor& parameter) {
  const auto& gradient = parameter.grad();
  if (!gradient.defined()) return {parameter, {}};
  if (gradient.sizes() != parameter.sizes() || gradient.scalar_type() != parameter.scalar_type() ||
      gradient.device() != parameter.device()) {
    fail("The gradient of a parameter is ", tensor_text(gradient), ", expected ", tensor_text(parameter),
         " like the parameter.");
  }
  if (at::has_internal_overlap(parameter) == at::MemOverlap::Yes) {
    fail("A parameter is ", tensor_text(parameter),
         " whose elements share memory, as those of an expanded tensor do, so they cannot be updated one by one; make "
         "it of a clone().");
  }
  const bool fills = parameter.is_non_overlapping_and_dense();
  const auto filled = fills ? parameter : torch::empty_like(parameter).copy_(parameter);
  const bool alike = gradient.strides() == filled.strides();
  return {filled, alike ? gradient : torch::empty_like(filled).copy_(gradient)};
}

/// The pairs of all parameters, so that all are checked before the first update.
inline std::vector<KernelPair> kernel_pairs(const std::vector<torch::Tensor>& parameters) {
  std::vector<KernelPair> pairs;
  pairs.reserve(parameters.size());
  for (const auto& parameter : parameters) pairs.push_back(kernel_pair(parameter));
  return pairs;
}

/// One zero tensor per parameter, in its layout.
inline std::vector<torch::Tensor> zeros_like(const std::vector<torch::Tensor>& parameters) {
  std::vector<torch::Tensor> zeros;
  for (const auto& parameter : parameters) zeros.push_back(torch::zeros_like(parameter, torch::MemoryFormat::Preserve));
  return zeros;
}

}  // namespace creditlib::detail
