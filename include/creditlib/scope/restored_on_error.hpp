// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <exception>
#include <utility>
#include <vector>

namespace creditlib::scope {

/// Puts tensors back as they were if its scope is left by an exception. It writes through the tensors' data, so that a
/// graph that has saved them does not take them for changed. Costs a copy of the tensors.
class RestoredOnError {
 public:
  explicit RestoredOnError(std::vector<torch::Tensor> tensors) : tensors_(std::move(tensors)) {
    const torch::NoGradGuard no_grad;
    saved_.reserve(tensors_.size());
    for (const auto& tensor : tensors_) saved_.push_back(tensor.defined() ? tensor.clone() : tensor);
  }
  ~RestoredOnError() {
    if (std::uncaught_exceptions() == exceptions_) return;
    const torch::NoGradGuard no_grad;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i].defined()) tensors_[i].variable_data().copy_(saved_[i]);
    }
  }
  RestoredOnError(const RestoredOnError&) = delete;
  RestoredOnError& operator=(const RestoredOnError&) = delete;

 private:
  int exceptions_ = std::uncaught_exceptions();
  std::vector<torch::Tensor> tensors_, saved_;
};

}  // namespace creditlib::scope
