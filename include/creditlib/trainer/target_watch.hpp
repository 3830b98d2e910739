// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/types.h>

#include <creditlib/detail/target_range.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

namespace creditlib::detail {

/// A finding on its way to the host: copied into pinned memory, behind what is queued on the present stream. On the CPU
/// it is there at once.
class SentFinding {
 public:
  explicit SentFinding(const RangeFinding& finding) : finding_(finding), device_(finding.extremes.device()) {
    finding_.extremes = finding.extremes.to(torch::kCPU, /*non_blocking=*/true);
    if (device_.is_cpu()) return;
    event_.emplace(device_.type());
    event_->record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  }

  bool arrived() const { return !event_ || event_->query(); }
  void wait() const {
    if (event_) event_->synchronize();
  }
  /// Once it has arrived.
  const RangeFinding& finding() const { return finding_; }
  torch::Device device() const { return device_; }

 private:
  RangeFinding finding_;
  torch::Device device_;
  std::optional<c10::Event> event_;
};

/// Finds values out of range in the targets of a trainer's steps, on a device that no step waits for: a step is taken
/// with values brought into range, its finding is sent to the host, and a later call says what was wrong.
template <class Sent = SentFinding>
class TargetWatch {
 public:
  /// What the step that comes takes for its target. The finding is this watch's until it is sent.
  template <class Objective>
  torch::Tensor in_range(const Objective& objective, const torch::Tensor& logits, const torch::Tensor& target) {
    auto ranged = ranged_target(objective, logits, target);
    finding_ = std::move(ranged.finding);
    return std::move(ranged.target);
  }

  /// The finding of the last step, which a graph computes again at each of its replays.
  const RangeFinding& finding() const { return finding_; }

  /// Queues the copy of the last step's finding; `step` is its number, counted from 1.
  void send(std::int64_t step) { send(step, std::exchange(finding_, {})); }
  void send(std::int64_t step, const RangeFinding& finding) {
    if (finding.defined()) sent_.push_back({step, Sent(finding)});
  }

  /// Throws Error for the first step that a value out of range is known of; waits for nothing.
  template <class Objective>
  void check(const Objective& objective) {
    while (!sent_.empty() && sent_.front().finding.arrived()) take(objective);
  }
  /// The same for all steps so far; waits for their findings.
  template <class Objective>
  void wait(const Objective& objective) {
    while (!sent_.empty()) {
      sent_.front().finding.wait();
      take(objective);
    }
  }

  /// The steps so far do not matter any more.
  void forget() { *this = {}; }

 private:
  struct Step {
    std::int64_t number;
    Sent finding;
  };

  template <class Objective>
  void take(const Objective& objective) {
    const auto step = std::move(sent_.front());
    sent_.pop_front();
    const auto& finding = step.finding.finding();
    if (!finding.wrong()) return;
    fail(range_error(objective, finding), " It was in the batch of step ", step.number,
         " (counted from 1). Targets on ", step.finding.device(),
         " are looked at after the step, which took the nearest value in range instead, so the ",
         "parameters have been updated with it: correct the data, and load a checkpoint of before that step or start ",
         "anew.");
  }

  RangeFinding finding_;
  std::deque<Step> sent_;
};

}  // namespace creditlib::detail
