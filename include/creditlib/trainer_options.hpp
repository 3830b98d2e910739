#pragma once

#include <creditlib/error.hpp>
#include <creditlib/optim/rate.hpp>
#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <optional>

namespace creditlib {

/// Which optimiser a trainer runs over all parameters.
enum class Optimizer { AdamW, SGD };

/// Whose gradients clip_norm scales together: each block's on their own (embed and readout are never clipped), or those of all
/// trainable parameters, embed and readout included.
enum class ClipScope { Block, All };

/// How a trainer trains; the defaults are the reference scripts'.
struct TrainerOptions {
  double lr = 1e-3;
  double weight_decay = 0.01;
  /// Scales gradients down to this norm where they exceed it: by default each block's together, never the embed's and the
  /// readout's; clip_scope = ClipScope::All takes all parameters together.
  std::optional<double> clip_norm = std::nullopt;
  /// Over how many epochs the cosine falls to 0; schedules see it too.
  std::int64_t epochs = 100;
  /// Seeds the trainer's own generators, from which credit sources draw. LibTorch's global generator is never seeded.
  std::int64_t seed = 42;
  Optimizer optimizer = Optimizer::AdamW;
  Rate rate = Rate::Cosine;
  /// Of SGD.
  double momentum = 0.9;
  ClipScope clip_scope = ClipScope::Block;

  /// Throws Error for a value that cannot be meant.
  void check() const {
    const auto at_least_zero = [](const char* name, double value) {
      if (!(value >= 0) || std::isinf(value)) detail::fail("TrainerOptions: ", name, " is ", value, ", expected a finite number >= 0.");
    };
    at_least_zero("lr", lr);
    at_least_zero("weight_decay", weight_decay);
    at_least_zero("momentum", momentum);
    if (clip_norm && !(*clip_norm > 0)) {
      detail::fail("TrainerOptions: clip_norm is ", *clip_norm, ", expected a number > 0, or std::nullopt for no clipping.");
    }
    if (epochs < 1) detail::fail("TrainerOptions: epochs is ", epochs, ", expected at least 1.");
  }
};

/// What a step tells: tensors on the model's device, so that nothing waits for it.
struct StepResult {
  torch::Tensor loss;     ///< mean loss of the batch before the step, a scalar
  torch::Tensor correct;  ///< how many of the batch were right before the step, a scalar
};

}  // namespace creditlib
