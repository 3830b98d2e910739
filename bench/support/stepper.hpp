#pragma once

#include <torch/types.h>

#include <creditlib/named_tensors.hpp>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/phases.hpp"
#include "support/settings.hpp"

namespace bench {

/// The rules that make_stepper knows: bp, dfa, dfa_dense (its credit multiplied out), fa, oracle, vec, value_net,
/// state_predictor, ep.
const std::vector<std::string>& rules();

/// A trainer of any rule on any network, behind one type.
class Stepper {
 public:
  virtual ~Stepper() = default;
  virtual void step(const torch::Tensor& x, const torch::Tensor& y) = 0;
  /// The network's forward pass alone, without a graph, in train mode as in training.
  virtual void forward(const torch::Tensor& x) = 0;
  /// The alignment of the rule's credit with the true gradient at every hidden state: one diagnostic of a run.
  virtual void diagnose(const torch::Tensor& x, const torch::Tensor& y) = 0;
  /// As a step would apply them, in the order of parameters().
  virtual std::vector<torch::Tensor> gradients(const torch::Tensor& x, const torch::Tensor& y) = 0;
  virtual creditlib::NamedTensors parameters() const = 0;
  /// What the rule has of its own: feedback, nets and their optimisers, as its state names them; none in bp.
  virtual creditlib::NamedTensors credit_tensors() const = 0;
};

/// Where training starts: values of parameters() and of credit_tensors() by name; what is not there is drawn.
struct Start {
  creditlib::NamedTensors weights = {}, credit = {};
};

/// The rule on the network with the reference scripts' settings. Throws creditlib::Error for a rule that is not there,
/// or not on this network or path.
std::unique_ptr<Stepper> make_stepper(const Settings& settings, const Start& start = {});

/// A stepper on a few random batches that go round.
class StepLoop {
 public:
  explicit StepLoop(const Settings& settings, int batches = 8);

  void step() {
    const auto& [x, y] = next();
    stepper_->step(x, y);
  }
  void forward() { stepper_->forward(next().first); }
  void diagnose() {
    const auto& [x, y] = next();
    stepper_->diagnose(x, y);
  }
  /// One step, watched.
  Seconds watched_step() {
    timeline.start(device_);
    step();
    return timeline.stop();
  }

  const Stepper& stepper() const { return *stepper_; }
  /// Bytes of all batches.
  std::size_t batch_bytes() const;

 private:
  const std::pair<torch::Tensor, torch::Tensor>& next() { return batches_[next_++ % batches_.size()]; }

  torch::Device device_;
  std::unique_ptr<Stepper> stepper_;
  std::vector<std::pair<torch::Tensor, torch::Tensor>> batches_;
  std::size_t next_ = 0;
};

}  // namespace bench
