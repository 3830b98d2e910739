// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/any_trainer.hpp>
#include <creditlib/named_tensors.hpp>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "registry/graphed.hpp"
#include "support/phases.hpp"
#include "support/settings.hpp"

namespace bench {

/// The rules that make_stepper knows: the registry's, and dfa_dense (DFA whose credit is multiplied out).
const std::vector<std::string>& rules();

/// A trainer of any rule on any network.
struct Stepper {
  creditlib::AnyTrainer trainer;
  /// The alignment of the rule's credit with the true gradient at every hidden state: one diagnostic of a run.
  std::function<void(creditlib::AnyTrainer&, const torch::Tensor&, const torch::Tensor&)> diagnose;
  /// Its step in CUDA graphs.
  registry::Graphed (*graphed)(creditlib::AnyTrainer&);
};

/// Where training starts: values of the trainer's named_parameters() and credit_tensors() by name; what is not there is
/// drawn.
struct Start {
  creditlib::NamedTensors weights = {}, credit = {};
};

/// The rule on the network with the reference scripts' settings. Throws creditlib::Error for a rule that is not there,
/// or not on this network or path.
Stepper make_stepper(const Settings& settings, const Start& start = {});

/// A stepper on a few random batches that go round.
class StepLoop {
 public:
  explicit StepLoop(const Settings& settings, int batches = 8);

  void step() {
    const auto& [x, y] = next();
    graphed_.step ? graphed_.step(x, y) : trainer().step(x, y);
  }
  /// From now on steps are in CUDA graphs; why they cannot be, or nothing.
  std::string use_graphs();
  /// Kernels and copies of a step's graph; 0 without one.
  std::int64_t nodes() const { return graphed_.nodes ? graphed_.nodes() : 0; }
  /// The network's forward pass alone, without a graph, in train mode as in training.
  void forward() {
    const torch::NoGradGuard no_grad;
    trainer().forward(next().first);
  }
  void diagnose() {
    const auto& [x, y] = next();
    stepper_.diagnose(trainer(), x, y);
  }
  /// One step, watched.
  Seconds watched_step() {
    timeline.start(device_);
    step();
    return timeline.stop();
  }

  creditlib::AnyTrainer& trainer() { return stepper_.trainer; }
  /// Bytes of all batches.
  std::size_t batch_bytes() const;

 private:
  const std::pair<torch::Tensor, torch::Tensor>& next() { return batches_[next_++ % batches_.size()]; }

  torch::Device device_;
  Stepper stepper_;
  registry::Graphed graphed_;
  std::vector<std::pair<torch::Tensor, torch::Tensor>> batches_;
  std::size_t next_ = 0;
};

}  // namespace bench
