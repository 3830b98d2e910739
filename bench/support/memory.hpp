// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "support/settings.hpp"

namespace bench {

/// Bytes of tensors, as LibTorch's allocators count them.
struct MemoryUse {
  double peak = 0;  ///< the most that is held during a step, but for the batches

  /// Of that, what is there for the step alone: activations, credit, temporaries. Not the parameters, their gradients,
  /// the optimiser's moments, nor the feedback and the nets of the rule (whose gradients count).
  double activations = 0;
};

/// Of a few steps of a new trainer.
MemoryUse memory_of(const Settings& settings);

/// The peak of the process's resident memory since reset_peak_resident(), in bytes (Linux; 0 elsewhere): LibTorch
/// itself included.
double peak_resident();
void reset_peak_resident();

}  // namespace bench
