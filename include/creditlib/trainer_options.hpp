#pragma once

#include <torch/types.h>

#include <cmath>
#include <creditlib/error.hpp>
#include <cstdint>
#include <optional>

namespace creditlib {

/// Which optimiser a trainer runs over all parameters.
enum class Optimizer { AdamW, SGD };

/// How the learning rate runs over the epochs.
enum class Rate { Cosine, Constant };

/// Whose gradients clip_norm scales together: each block's on their own (embed and readout are never clipped), or those
/// of all trainable parameters, embed and readout included.
enum class ClipScope { Block, All };

/// How a trainer computes a step; all paths give the same numbers, to rounding.
enum class Path {
  Auto,        ///< the fastest that the model allows
  Generic,     ///< autograd, for any model
  ClosedForm,  ///< by formula, in buffers that are used again: for models that offer closed_form(); an Error elsewhere
};

/// In what numbers a step by formula multiplies matrices. Parameters, gradients, the optimiser's moments and all else
/// are the model's.
enum class MatmulPrecision {
  Float32,   ///< the model's own
  BFloat16,  ///< factors of large products rounded to bfloat16, for float32 models with closed_form(); an Error
             ///< elsewhere
};

/// What a step keeps of its forward pass.
enum class Memory {
  Activations,  ///< what the gradients of all blocks need
  Constant,  ///< what those of one block need, however many there are; each block's forward runs twice. For models with
             ///< closed_form() and credit that is told from the error alone, such as DFA's; an Error elsewhere
};

/// How a trainer trains; the defaults are the reference scripts'.
struct TrainerOptions {
  double lr = 1e-3;
  double weight_decay = 0.01;
  /// Scales gradients down to this norm where they exceed it: by default each block's together, never the embed's and
  /// the readout's; clip_scope = ClipScope::All takes all parameters together.
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
  Path path = Path::Auto;
  Memory memory = Memory::Activations;
  MatmulPrecision precision = MatmulPrecision::Float32;

  /// Throws Error for a value that cannot be meant.
  void check() const {
    const auto at_least_zero = [](const char* name, double value) {
      if (!(value >= 0) || std::isinf(value))
        detail::fail("TrainerOptions: ", name, " is ", value, ", expected a finite number >= 0.");
    };
    at_least_zero("lr", lr);
    at_least_zero("weight_decay", weight_decay);
    at_least_zero("momentum", momentum);
    if (clip_norm && !(*clip_norm > 0)) {
      detail::fail("TrainerOptions: clip_norm is ", *clip_norm,
                   ", expected a number > 0, or std::nullopt for no clipping.");
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
