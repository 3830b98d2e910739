// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Context.h>
#include <torch/types.h>

#include <creditlib/scope/detail/draw_lock.hpp>
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

/// Restores the state of random generators when it goes out of scope. For generators of your own: LibTorch's global ones
/// are shared with other threads and are for RestoredGlobalGenerators.
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

/// Restores LibTorch's global generators, the CPU's and that of `device`, when it goes out of scope.
///
/// - Until then no other thread draws under a Drawing, which all steps of trainers have: its numbers would be put back
///   too, and drawn again. A step in another thread waits, and so does this for steps that have begun.
/// - Scopes nest. Within one, do not wait for a thread that steps a trainer: it waits for this scope's end.
class RestoredGlobalGenerators {
 public:
  explicit RestoredGlobalGenerators(torch::Device device) : restored_(global_generators(device)) {}

 private:
  detail::DrawLock alone_{detail::DrawLock::PutBack};
  RestoredGenerators restored_;
};

/// While it is in scope, the calling thread's draws from LibTorch's global generators are its own: no other thread puts
/// them back (RestoredGlobalGenerators waits). Trainers' steps have it; code of your own that draws beside trainers in
/// other threads, such as a forward pass with Dropout, needs it too.
class Drawing {
  detail::DrawLock lock_{detail::DrawLock::Draw};
};

}  // namespace creditlib::scope
