// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>
#include <torch/types.h>

#include <mutex>
#include <utility>
#include <vector>

/// Random generators and their states.
namespace creditlib::scope {

/// LibTorch's global generators: the CPU's and, if `device` is another device, that device's.
inline std::vector<torch::Generator> global_generators(torch::Device device) {
  std::vector<torch::Generator> generators{at::globalContext().defaultGenerator(torch::kCPU)};
  if (!device.is_cpu()) generators.push_back(at::globalContext().defaultGenerator(device));
  return generators;
}

/// One state per generator.
inline std::vector<torch::Tensor> states_of(const std::vector<torch::Generator>& generators) {
  std::vector<torch::Tensor> states;
  for (auto generator : generators) {  // a handle: copying it copies no state
    const std::lock_guard<std::mutex> lock(generator.mutex());
    states.push_back(generator.get_state());
  }
  return states;
}

/// Gives each generator the state in the same place.
inline void set_states(const std::vector<torch::Generator>& generators, const std::vector<torch::Tensor>& states) {
  for (std::size_t i = 0; i < generators.size(); ++i) {
    auto generator = generators[i];
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(states[i]);
  }
}

/// Restores the state of random generators when it goes out of scope.
class RestoredGenerators {
 public:
  explicit RestoredGenerators(std::vector<torch::Generator> generators)
      : generators_(std::move(generators)), states_(states_of(generators_)) {}
  ~RestoredGenerators() { set_states(generators_, states_); }
  RestoredGenerators(const RestoredGenerators&) = delete;
  RestoredGenerators& operator=(const RestoredGenerators&) = delete;

 private:
  std::vector<torch::Generator> generators_;
  std::vector<torch::Tensor> states_;
};

}  // namespace creditlib::scope
