// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <creditlib/scope/generators.hpp>
#include <exception>
#include <optional>
#include <utility>
#include <vector>

namespace creditlib::scope {

/// When a guard restores: always, or only if its scope is left by an exception.
enum class Restore { Always, OnError };

/// Restores the contents of tensors when it goes out of scope. It writes through the tensors' data, so that a graph
/// that has saved them does not treat them as modified.
class RestoredTensors {
 public:
  explicit RestoredTensors(std::vector<torch::Tensor> tensors, Restore when = Restore::Always)
      : tensors_(std::move(tensors)), when_(when) {
    const torch::NoGradGuard no_grad;
    for (const auto& tensor : tensors_) saved_.push_back(tensor.defined() ? tensor.clone() : tensor);
  }
  ~RestoredTensors() {
    if (when_ == Restore::OnError && std::uncaught_exceptions() == exceptions_) return;
    const torch::NoGradGuard no_grad;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i].defined()) tensors_[i].variable_data().copy_(saved_[i]);
    }
  }
  RestoredTensors(const RestoredTensors&) = delete;
  RestoredTensors& operator=(const RestoredTensors&) = delete;

 private:
  std::vector<torch::Tensor> tensors_, saved_;
  Restore when_;
  int exceptions_ = std::uncaught_exceptions();
};

/// While it is in scope, forward passes have no side effects: at the end the module's buffers (running statistics) and
/// LibTorch's global generators, the CPU's and those of `device`, are restored (see RestoredGlobalGenerators). A network
/// with a closed_form() draws nothing and leaves the generators to other threads.
class Untouched {
 public:
  template <class Module>
  Untouched(Module& module, torch::Device device) : buffers_(module.buffers()) {
    if constexpr (requires { module.closed_form().has_value(); }) {
      if (module.closed_form().has_value()) return;
    }
    generators_.emplace(device);
  }

 private:
  RestoredTensors buffers_;
  std::optional<RestoredGlobalGenerators> generators_;
};

}  // namespace creditlib::scope
