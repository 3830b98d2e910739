// SPDX-License-Identifier: Apache-2.0
#include "support/memory.hpp"

#ifdef CREDITLIB_CUDA_GRAPHS
#include <ATen/cuda/CUDAContextLight.h>
#endif

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <memory>
#include <string>

#include "support/stepper.hpp"

namespace bench {
namespace {

/// Counts what LibTorch's allocators give out and take back, on the CPU and on devices.
class TensorBytes final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, std::int64_t size, std::size_t, std::size_t, c10::Device) override {
    held_ += size;
    peak_ = std::max(peak_, held_);
  }
  bool memoryProfilingEnabled() const override { return true; }

  std::int64_t held() const { return held_; }
  std::int64_t peak() const { return peak_; }

 private:
  std::int64_t held_ = 0, peak_ = 0;
};

/// Frees cuBLAS's workspaces, one of tens of MiB for each stream that has multiplied, which are not a step's own.
void free_workspaces() {
#ifdef CREDITLIB_CUDA_GRAPHS
  at::cuda::clearCublasWorkspaces();
#endif
}

}  // namespace

MemoryUse memory_of(const Settings& settings) {
  free_workspaces();  // what is freed below has then been counted
  const auto bytes = std::make_shared<TensorBytes>();
  const c10::DebugInfoGuard counted(c10::DebugInfoKind::PROFILER_STATE, bytes);
  StepLoop loop(settings, /*batches=*/2);
  const auto before = static_cast<double>(bytes->held());
  for (int i = 0; i < 2; ++i) loop.step();
  double gradients = 0;
  for (const auto& parameter : loop.trainer().parameters()) {
    if (parameter.requires_grad()) gradients += static_cast<double>(parameter.nbytes());
  }
  const auto held = bytes->held();
  free_workspaces();
  const auto peak = static_cast<double>(bytes->peak() - (held - bytes->held()));
  return {.peak = peak - static_cast<double>(loop.batch_bytes()), .activations = peak - before - gradients};
}

double peak_resident() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return 1024 * std::stod(line.substr(6));
  }
  return 0;
}

void reset_peak_resident() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace bench
