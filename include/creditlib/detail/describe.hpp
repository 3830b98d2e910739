// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstddef>
#include <string>
#include <vector>

namespace creditlib::detail {

/// Sizes as error messages write them: "(128, 10)".
inline std::string shape_text(torch::IntArrayRef sizes) {
  std::string text = "(";
  for (std::size_t i = 0; i < sizes.size(); ++i) text += (i ? ", " : "") + std::to_string(sizes[i]);
  return text + ")";
}

/// Names to choose from as error messages write them: "a, b or c".
inline std::string choice_text(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    text += (i == 0 ? "" : i + 1 < names.size() ? ", " : " or ") + names[i];
  }
  return text;
}

/// A dtype by the name used in Python: "float32", "int64", "bool".
inline std::string dtype_text(torch::Dtype dtype) {
  switch (dtype) {
    case torch::kUInt8: return "uint8";
    case torch::kUInt16: return "uint16";
    case torch::kUInt32: return "uint32";
    case torch::kUInt64: return "uint64";
    case torch::kInt8: return "int8";
    case torch::kInt16: return "int16";
    case torch::kInt32: return "int32";
    case torch::kInt64: return "int64";
    case torch::kFloat16: return "float16";
    case torch::kFloat32: return "float32";
    case torch::kFloat64: return "float64";
    case torch::kBFloat16: return "bfloat16";
    case torch::kBool: return "bool";
    case torch::kComplexFloat: return "complex64";
    case torch::kComplexDouble: return "complex128";
    default: return c10::toString(dtype);
  }
}

/// A tensor as error messages write it: "(128, 10) float32 on cpu", or "undefined".
inline std::string tensor_text(const torch::Tensor& tensor) {
  if (!tensor.defined()) return "undefined";
  return shape_text(tensor.sizes()) + " " + dtype_text(tensor.scalar_type()) + " on " + tensor.device().str();
}

}  // namespace creditlib::detail
