// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/named_tensors.hpp>

namespace creditlib::detail {

/// An optimizer in use.
class AnyOptimizer {
 public:
  virtual ~AnyOptimizer() = default;

  /// One update with each parameter's .grad().
  virtual void step() = 0;
  virtual void set_rate(double factor) = 0;
  /// The rate by which the factor is multiplied.
  virtual double lr() const = 0;
  /// Whether a CUDA graph can hold step().
  virtual bool graphable() const = 0;

  /// What a checkpoint keeps: tensors to copy into, or a state that is read back as a whole.
  virtual NamedTensors named_tensors() const { return {}; }
  virtual bool is_serialized() const { return false; }
  virtual torch::Tensor serialized() const { return {}; }
  virtual void deserialize(const torch::Tensor&) {}
};

}  // namespace creditlib::detail
