// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/types.h>

#include <cstddef>
#include <vector>

namespace creditlib::detail {

/// Runs independent pieces of work: on a device each on its own stream, so that small kernels share it; on the CPU one
/// after the other. The work starts after everything queued on the current stream, and everything queued there
/// later waits for all of it, even if a piece throws; memory may therefore pass between the streams. A CUDA graph that
/// captures the current stream captures all of it.
class SideBySide {
 public:
  /// Calls work(0), ..., work(count - 1), which queue the pieces.
  template <class Work>
  void run(torch::Device device, std::size_t count, const Work& work) {
    if (device.is_cpu()) {
      for (std::size_t i = 0; i < count; ++i) work(i);
      return;
    }
    const c10::impl::VirtualGuardImpl of_device(device.type());
    while (streams_.size() < count) streams_.push_back(of_device.getStreamFromGlobalPool(device));
    const auto present = of_device.getStream(device);
    c10::Event start(device.type());
    start.record(present);
    const auto join = [&](const c10::Stream& stream) {
      c10::Event end(device.type());
      end.record(stream);
      end.block(present);
    };
    for (std::size_t i = 0; i < count; ++i) {
      start.block(streams_[i]);
      try {
        const c10::StreamGuard on(streams_[i]);
        work(i);
      } catch (...) {
        join(streams_[i]);
        throw;
      }
      join(streams_[i]);
    }
  }

 private:
  std::vector<c10::Stream> streams_;
};

}  // namespace creditlib::detail
