#pragma once

#include <ATen/Context.h>
#include <torch/nn/module.h>
#include <torch/types.h>

#include <mutex>
#include <utility>
#include <vector>

namespace creditlib::scope {

/// Puts tensors back as they were when it goes out of scope. It writes through the tensors' data, so that a graph that
/// has saved them does not take them for changed.
class RestoredTensors {
 public:
  explicit RestoredTensors(std::vector<torch::Tensor> tensors) : tensors_(std::move(tensors)) {
    const torch::NoGradGuard no_grad;
    for (const auto& tensor : tensors_) saved_.push_back(tensor.defined() ? tensor.clone() : tensor);
  }
  ~RestoredTensors() {
    const torch::NoGradGuard no_grad;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i].defined()) tensors_[i].variable_data().copy_(saved_[i]);
    }
  }
  RestoredTensors(const RestoredTensors&) = delete;
  RestoredTensors& operator=(const RestoredTensors&) = delete;

 private:
  std::vector<torch::Tensor> tensors_, saved_;
};

/// Puts random generators back to their state when it goes out of scope.
class RestoredGenerators {
 public:
  explicit RestoredGenerators(std::vector<torch::Generator> generators) : generators_(std::move(generators)) {
    for (auto& generator : generators_) {
      const std::lock_guard<std::mutex> lock(generator.mutex());
      states_.push_back(generator.get_state());
    }
  }
  ~RestoredGenerators() {
    for (std::size_t i = 0; i < generators_.size(); ++i) {
      const std::lock_guard<std::mutex> lock(generators_[i].mutex());
      generators_[i].set_state(states_[i]);
    }
  }
  RestoredGenerators(const RestoredGenerators&) = delete;
  RestoredGenerators& operator=(const RestoredGenerators&) = delete;

 private:
  std::vector<torch::Generator> generators_;
  std::vector<torch::Tensor> states_;
};

/// A forward pass in its scope leaves no trace: the module's buffers (running statistics) and LibTorch's global
/// generators, of the CPU and of `device`, are put back.
class Untouched {
 public:
  Untouched(torch::nn::Module& module, torch::Device device)
      : buffers_(module.buffers()), generators_(global_generators(device)) {}

 private:
  static std::vector<torch::Generator> global_generators(torch::Device device) {
    std::vector<torch::Generator> generators{at::globalContext().defaultGenerator(torch::kCPU)};
    if (!device.is_cpu()) generators.push_back(at::globalContext().defaultGenerator(device));
    return generators;
  }

  RestoredTensors buffers_;
  RestoredGenerators generators_;
};

}  // namespace creditlib::scope
