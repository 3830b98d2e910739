// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <utility>
#include <vector>

namespace creditlib::scope {

/// Puts a module in eval mode and, when it goes out of scope, restores the mode of each of its submodules.
class EvalMode {
 public:
  explicit EvalMode(torch::nn::Module& module) : module_(module), training_(module.is_training()) {
    for (const auto& child : module.modules(/*include_self=*/false)) modes_.emplace_back(child, child->is_training());
    module.eval();
  }
  ~EvalMode() {
    module_.train(training_);
    // Parents come before their children, so each module's own mode is set last.
    for (const auto& [child, training] : modes_) child->train(training);
  }
  EvalMode(const EvalMode&) = delete;
  EvalMode& operator=(const EvalMode&) = delete;

 private:
  torch::nn::Module& module_;
  bool training_;
  std::vector<std::pair<std::shared_ptr<torch::nn::Module>, bool>> modes_;
};

}  // namespace creditlib::scope

namespace creditlib::diagnostics {
using scope::EvalMode;
}  // namespace creditlib::diagnostics
