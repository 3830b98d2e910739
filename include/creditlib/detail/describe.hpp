#pragma once

#include <torch/types.h>

#include <string>

namespace creditlib::detail {

/// "(128, 10)": sizes as error messages write them.
inline std::string shape_text(torch::IntArrayRef sizes) {
  std::string text = "(";
  for (std::size_t i = 0; i < sizes.size(); ++i) text += (i ? ", " : "") + std::to_string(sizes[i]);
  return text + ")";
}

/// "(128, 10) float on cpu", or "undefined".
inline std::string tensor_text(const torch::Tensor& tensor) {
  if (!tensor.defined()) return "undefined";
  return shape_text(tensor.sizes()) + " " + c10::toString(tensor.scalar_type()) + " on " + tensor.device().str();
}

}  // namespace creditlib::detail
