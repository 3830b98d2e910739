// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <string>

namespace creditlib::data {

/// Samples of any kind, held whole on one device: row i of the inputs belongs to row i of the targets.
///
///     const data::Tensors houses{.inputs = features, .targets = prices};       // (N, 8) float32, (N, 1) float32
///     const data::Tensors text{.inputs = ids, .targets = next_ids};            // (N, T) int64, (N, T) int64
///
/// - Batches takes it as it takes a Dataset: its batches are rows, in the dtypes given here.
/// - What targets may be is the objective's to say and to check; labels are not range-checked here.
struct Tensors {
  torch::Tensor inputs = {};   ///< (N, ...), any dtype
  torch::Tensor targets = {};  ///< (N, ...), any dtype
  std::string name = {};       ///< for errors; may stay empty

  std::int64_t size() const { return inputs.size(0); }

  /// The first n samples, sharing storage. Throws Error unless 1 <= n <= size().
  Tensors first(std::int64_t n) const {
    if (n < 1 || n > size()) {
      detail::fail(who(), ": the first ", n, " samples were asked for, expected 1 to ", size(), ".");
    }
    return {.inputs = inputs.narrow(0, 0, n), .targets = targets.narrow(0, 0, n), .name = name};
  }

  /// A copy on another device.
  Tensors to(torch::Device device) const {
    return detail::translated(
        [&] { return Tensors{.inputs = inputs.to(device), .targets = targets.to(device), .name = name}; });
  }

  /// Returns these tensors after checking them; Batches calls it at construction.
  ///
  /// - Throws Error if one of them is undefined, has no dimension, is not strided (such as a sparse tensor) or requires
  ///   a gradient; if there is no sample; or if they differ in their first sizes or devices.
  const Tensors& checked() const {
    const auto check = [&](const char* member, const torch::Tensor& tensor) {
      if (!tensor.defined() || tensor.dim() == 0 || tensor.layout() != torch::kStrided) {
        detail::fail(who(), ": ", member, " are ", detail::tensor_text(tensor), ", expected a dense tensor (N, ...).");
      }
      if (tensor.requires_grad()) {
        detail::fail(who(), ": ", member, " require a gradient, and batches have none: give ", member, ".detach().");
      }
    };
    check("inputs", inputs);
    check("targets", targets);
    if (inputs.size(0) != targets.size(0)) {
      detail::fail(who(), ": inputs are ", detail::tensor_text(inputs), " and targets ", detail::tensor_text(targets),
                   ", expected the same first size N, one target per input.");
    }
    if (size() == 0) detail::fail(who(), ": inputs are ", detail::tensor_text(inputs), ", expected at least one row.");
    if (inputs.device() != targets.device()) {
      detail::fail(who(), ": inputs are on ", inputs.device(), ", but targets are on ", targets.device(), ".");
    }
    return *this;
  }

 private:
  std::string who() const { return name.empty() ? "Tensors" : "Tensors " + name; }
};

}  // namespace creditlib::data
