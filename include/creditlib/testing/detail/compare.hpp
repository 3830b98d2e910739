// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>
#include <torch/nn/module.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <creditlib/parameter_parts.hpp>
#include <limits>
#include <vector>

/// How tests compare tensors.
namespace creditlib::detail::laws {

/// Whether two lists hold the same tensors, to the bit; undefined ones are the same as undefined ones.
inline bool same(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].defined() != b[i].defined()) return false;
    if (a[i].defined() && (a[i].scalar_type() != b[i].scalar_type() || !torch::equal(a[i], b[i]))) return false;
  }
  return true;
}

/// How far apart two tensors are, relative to the larger norm of the two or, where that is more, to `least`; infinite
/// where one is undefined alone, the shapes differ, or a number is not finite.
inline double distance(const torch::Tensor& a, const torch::Tensor& b, double least = 0) {
  constexpr double infinite = std::numeric_limits<double>::infinity();
  if (!a.defined() && !b.defined()) return 0;
  if (a.defined() != b.defined() || a.sizes() != b.sizes()) return infinite;
  const auto x = a.detach().to(torch::kFloat64), y = b.detach().to(torch::kFloat64);
  const double scale = std::max({x.norm().item<double>(), y.norm().item<double>(), least});
  const double between = (x - y).norm().item<double>();
  if (!std::isfinite(between)) return infinite;
  return between == 0 ? 0 : between / scale;
}

/// The largest distance in two lists. A tensor far smaller than the largest counts as a thousandth of it: the gradient
/// of a bias before BatchNorm is 0 but for rounding.
inline double distance(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double largest = 0, most = 0;
  for (const auto& tensor : b) {
    if (tensor.defined()) largest = std::max(largest, tensor.detach().norm().item<double>());
  }
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, distance(a[i], b[i], largest / 1000));
  return most;
}

inline std::vector<torch::Tensor> copies(const std::vector<torch::Tensor>& tensors) {
  std::vector<torch::Tensor> copied;
  for (const auto& tensor : tensors) copied.push_back(tensor.defined() ? tensor.detach().clone() : tensor);
  return copied;
}

/// What the parameters' .grad hold.
inline std::vector<torch::Tensor> gradients_of(torch::nn::Module& module) {
  std::vector<torch::Tensor> gradients;
  for (const auto& parameter : distinct_parameters(module)) gradients.push_back(parameter.grad());
  return copies(gradients);
}

inline torch::Tensor global_generator_state() { return at::globalContext().defaultGenerator(torch::kCPU).get_state(); }

}  // namespace creditlib::detail::laws
