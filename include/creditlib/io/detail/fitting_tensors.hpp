// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/MemoryOverlap.h>
#include <torch/nn/module.h>
#include <torch/utils.h>

#include <algorithm>
#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <creditlib/io/detail/safetensors_dtypes.hpp>
#include <creditlib/named_tensors.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// A tensor of a module that has a tensor in a file to be loaded from.
struct FittingTensor {
  std::string name;
  torch::Tensor tensor;
  std::function<torch::Tensor()> read;
  torch::Tensor loaded;  // what was read, in the module's dtype
};

/// The parameters and buffers of a module, under each of their names.
inline NamedTensors tensors_of(const torch::nn::Module& module) {
  NamedTensors named;
  for (const auto& entry : module.named_parameters()) named.emplace_back(entry.key(), entry.value());
  for (const auto& entry : module.named_buffers()) {
    if (entry.value().defined()) named.emplace_back(entry.key(), entry.value());
  }
  return named;
}

/// Whether load_weights takes a tensor of one dtype for another: equal, or both floating-point and no narrower than 16
/// bits (numbers of 8 bits and fewer have a scale of their own elsewhere).
inline bool converts(std::optional<torch::ScalarType> from, torch::ScalarType to) {
  const auto is_float = [](torch::ScalarType dtype) {
    return dtype == torch::kFloat64 || dtype == torch::kFloat32 || dtype == torch::kFloat16 ||
           dtype == torch::kBFloat16;
  };
  return from && (*from == to || (is_float(*from) && is_float(to)));
}

/// The first and the last element of a tensor in its storage, in elements.
inline std::pair<std::int64_t, std::int64_t> extent(const torch::Tensor& tensor) {
  auto last = tensor.storage_offset();
  for (std::int64_t i = 0; i < tensor.dim(); ++i) last += (tensor.size(i) - 1) * tensor.stride(i);
  return {tensor.storage_offset(), last};
}

/// Whether loading these tensors also writes all of this one, which shares memory with one of them.
inline bool is_covered(const torch::Tensor& tensor, const std::vector<FittingTensor>& loaded) {
  if (tensor.numel() == 0 || !tensor.has_storage()) return false;
  return std::any_of(loaded.begin(), loaded.end(), [&](const auto& other) {
    if (!other.tensor.is_alias_of(tensor) || other.tensor.scalar_type() != tensor.scalar_type()) return false;
    if (!other.tensor.is_non_overlapping_and_dense()) return other.tensor.is_set_to(tensor);
    const auto [first, last] = extent(tensor);
    const auto [other_first, other_last] = extent(other.tensor);
    return other_first <= first && last <= other_last;
  });
}

inline torch::Tensor read_as(const FittingTensor& fitting, const std::filesystem::path& path) {
  auto tensor = fitting.read();
  const auto dtype = fitting.tensor.scalar_type();
  if (tensor.scalar_type() == dtype) return tensor;
  auto converted = tensor.to(dtype);
  if (!converted.isfinite().equal(tensor.isfinite())) {
    fail("load_weights: ", path, " has ", dtype_text(tensor.scalar_type()), " numbers for \"", fitting.name,
         "\" that are beyond the range of ", dtype_text(dtype), ": convert the module to a wider dtype first.");
  }
  return converted;
}

/// Throws Error if tensors that share memory, such as tied weights, would get different numbers.
inline void check_agreement(const std::vector<FittingTensor>& fitting, const std::filesystem::path& path) {
  std::map<std::pair<const void*, torch::ScalarType>, std::vector<const FittingTensor*>> sharing;
  for (const auto& one : fitting) {
    sharing[{one.tensor.storage().unsafeGetStorageImpl(), one.tensor.scalar_type()}].push_back(&one);
  }
  const auto bytes = [](const torch::Tensor& tensor) { return tensor.contiguous().flatten().view(torch::kUInt8); };
  for (const auto& [storage, group] : sharing) {
    if (group.size() < 2) continue;
    std::int64_t size = 0;
    for (const auto* one : group) size = std::max(size, extent(one->tensor).second + 1);
    const auto memory = torch::empty({size}, storage.second);
    const auto place = [&](const torch::Tensor& tensor) {
      return copyable(memory.as_strided(tensor.sizes(), tensor.strides(), tensor.storage_offset()));
    };
    for (const auto* one : group) place(one->tensor).copy_(copyable(one->loaded));
    for (const auto* one : group) {
      if (bytes(place(one->tensor)).equal(bytes(copyable(one->loaded)))) continue;
      fail("load_weights: \"", one->name, "\" shares memory with another tensor of the module, but ", path,
           " has different numbers for the two: leave one of them out of the file.");
    }
  }
}

/// Reads all tensors, then copies them into the module's.
inline void load_fitting(std::vector<FittingTensor>& fitting, const std::filesystem::path& path) {
  const torch::NoGradGuard no_grad;
  for (const auto& [name, tensor, read, loaded] : fitting) {
    if (tensor.layout() != torch::kStrided || tensor.is_meta() ||
        at::has_internal_overlap(tensor) == at::MemOverlap::Yes) {
      fail("load_weights: \"", name, "\" of the module, ", tensor_text(tensor),
           ", has no memory of its own for each element: make it a dense tensor first.");
    }
  }
  for (auto& one : fitting) one.loaded = read_as(one, path);
  check_agreement(fitting, path);
  for (const auto& one : fitting) copyable(one.tensor).copy_(copyable(one.loaded));
}

}  // namespace creditlib::detail
