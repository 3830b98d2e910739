// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <vector>

namespace creditlib::detail {

/// A learning rate as LibTorch's fused kernels take it: a number on the CPU, a tensor on CUDA, so that a step in a CUDA
/// graph reads the rate set at replay. (The kernels require that tensor to be float32.)
class LearningRate {
 public:
  /// `in_tensor`: keeps a tensor on the CPU too.
  LearningRate(double value, const std::vector<torch::Tensor>& parameters, bool in_tensor) : value_(value) {
    const auto device = parameters.empty() ? torch::Device(torch::kCPU) : parameters.front().device();
    if (in_tensor || !device.is_cpu())
      tensor_ = torch::full({}, value, torch::TensorOptions(torch::kFloat32).device(device));
  }

  /// Does not wait for the device.
  void set(double value) {
    value_ = value;
    if (tensor_.defined()) tensor_.fill_(value);
  }
  double value() const { return value_; }

  /// Calls `update(lr)` with the number or the tensor.
  template <class Update>
  void pass_to(const Update& update) const {
    if (tensor_.defined()) {
      update(tensor_);
    } else {
      update(value_);
    }
  }

 private:
  double value_;
  torch::Tensor tensor_;
};

}  // namespace creditlib::detail
