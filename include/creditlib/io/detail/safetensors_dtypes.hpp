// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

namespace creditlib::detail {

/// The format's name for each dtype that LibTorch has too. (F6_E2M3 and F6_E3M2 it does not have.)
inline constexpr std::array<std::pair<std::string_view, torch::ScalarType>, 20> safetensors_dtypes = {{
    {"F64", torch::kFloat64},
    {"F32", torch::kFloat32},
    {"F16", torch::kFloat16},
    {"BF16", torch::kBFloat16},
    {"F8_E5M2", torch::kFloat8_e5m2},
    {"F8_E4M3", torch::kFloat8_e4m3fn},
    {"F8_E5M2FNUZ", torch::kFloat8_e5m2fnuz},
    {"F8_E4M3FNUZ", torch::kFloat8_e4m3fnuz},
    {"F8_E8M0", torch::kFloat8_e8m0fnu},
    {"F4", torch::kFloat4_e2m1fn_x2},
    {"C64", torch::kComplexFloat},
    {"I64", torch::kInt64},
    {"I32", torch::kInt32},
    {"I16", torch::kInt16},
    {"I8", torch::kInt8},
    {"U64", torch::kUInt64},
    {"U32", torch::kUInt32},
    {"U16", torch::kUInt16},
    {"U8", torch::kUInt8},
    {"BOOL", torch::kBool},
}};

inline std::optional<torch::ScalarType> dtype_of_safetensors_name(std::string_view name) {
  for (const auto& [known, dtype] : safetensors_dtypes) {
    if (known == name) return dtype;
  }
  return std::nullopt;
}

inline std::optional<std::string_view> safetensors_name_of(torch::ScalarType dtype) {
  for (const auto& [name, known] : safetensors_dtypes) {
    if (known == dtype) return name;
  }
  return std::nullopt;
}

/// How many of the format's elements one element of LibTorch's dtype holds: F4 is packed in pairs, along the last
/// dimension, so that (2, 6) in a file is (2, 3) in LibTorch.
constexpr std::int64_t packed_in_one(torch::ScalarType dtype) { return dtype == torch::kFloat4_e2m1fn_x2 ? 2 : 1; }

/// The same bytes, of a dtype that LibTorch can copy: it cannot copy packed elements.
inline torch::Tensor copyable(const torch::Tensor& tensor) {
  return packed_in_one(tensor.scalar_type()) == 1 ? tensor : tensor.view(torch::kUInt8);
}

}  // namespace creditlib::detail
