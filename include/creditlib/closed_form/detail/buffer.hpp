// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

namespace creditlib::detail {

/// A tensor that is reused step after step, as long as no one else holds it.
class Buffer {
 public:
  /// A contiguous, uninitialized tensor of these sizes: the last call's, resized if necessary, unless someone still
  /// shares it (a user may keep a Trace); otherwise a new one.
  torch::Tensor get(torch::IntArrayRef sizes, const torch::TensorOptions& options) {
    if (!free_for(options)) tensor_ = torch::empty(sizes, options);
    return tensor_.resize_(sizes);
  }
  /// The same, with the sizes and options of another tensor.
  torch::Tensor like(const torch::Tensor& other) { return get(other.sizes(), other.options()); }

  const torch::Tensor& tensor() const { return tensor_; }

 private:
  bool free_for(const torch::TensorOptions& options) const {
    return tensor_.defined() && tensor_.use_count() == 1 && tensor_.storage().use_count() == 1 &&
           tensor_.scalar_type() == c10::typeMetaToScalarType(options.dtype()) && tensor_.device() == options.device();
  }

  torch::Tensor tensor_;
};

}  // namespace creditlib::detail
