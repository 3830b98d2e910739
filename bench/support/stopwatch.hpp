// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/types.h>

#include <chrono>
#include <memory>

namespace bench {

/// Times what lies between start() and stop(): by the clock on the CPU, by two events on the current stream of a
/// device.
class Stopwatch {
 public:
  explicit Stopwatch(torch::Device device) : device_(device) {
    if (device.is_cpu()) return;
    for (auto* event : {&begin_, &end_})
      *event = std::make_unique<c10::Event>(device.type(), c10::EventFlag::BACKEND_DEFAULT);
  }

  void start() {
    if (begin_) {
      begin_->record(stream());
    } else {
      started_ = std::chrono::steady_clock::now();
    }
  }

  /// Seconds since start(). Waits for a device.
  double stop() {
    if (!end_) return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
    end_->record(stream());
    end_->synchronize();
    return begin_->elapsedTime(*end_) / 1e3;
  }

 private:
  c10::Stream stream() const { return c10::impl::VirtualGuardImpl(device_.type()).getStream(device_); }

  torch::Device device_;
  std::chrono::steady_clock::time_point started_;
  std::unique_ptr<c10::Event> begin_, end_;
};

}  // namespace bench
