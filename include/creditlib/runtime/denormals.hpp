#pragma once

#include <ATen/Context.h>

namespace creditlib::runtime {

/// Takes numbers below the normal range for 0 from now on (float32: magnitudes under 1.2e-38), in what they are
/// computed from and what is computed, on the calling thread and on those that it starts afterwards.
///
/// Many processors, Intel's above all, take some hundred cycles for each such number, and the second moments of
/// an optimiser are such where units hardly move any more: up to a quarter of a step (docs/performance.md). Call it
/// first thing in main. Returns whether the processor can; where it cannot, nothing changes.
inline bool flush_denormals(bool on = true) { return at::globalContext().setFlushDenormal(on); }

}  // namespace creditlib::runtime

namespace creditlib {
namespace process = runtime;  // deprecated name
}
