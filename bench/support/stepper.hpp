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
    trainer().step(x, y);
  }
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
  std::vector<std::pair<torch::Tensor, torch::Tensor>> batches_;
  std::size_t next_ = 0;
};

}  // namespace bench
