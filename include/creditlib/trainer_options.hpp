// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/expect.hpp>
#include <cstdint>
#include <optional>

namespace creditlib {

/// Which optimizer a trainer runs over all parameters.
enum class Optimizer { AdamW, SGD };

/// How the learning rate changes over the epochs.
enum class Rate { Cosine, Constant };

/// Which gradients clip_norm scales together: each block's separately (embed and readout are never clipped), or all
/// trainable parameters', embed and readout included.
enum class ClipScope { Block, All };

/// How a trainer computes a step; all paths give the same numbers, to rounding.
enum class Path {
  Auto,        ///< the fastest that the model allows
  Generic,     ///< autograd, for any model
  ClosedForm,  ///< by formula, in reused buffers: for models with closed_form(), an Error for others
};

/// The precision in which a step by formula multiplies matrices. Parameters, gradients and the optimizer's moments keep
/// the model's dtype.
enum class MatmulPrecision {
  Float32,   ///< the model's own dtype
  BFloat16,  ///< factors of large products are rounded to bfloat16: for float32 models with closed_form(), an Error for
             ///< others
};

/// What a step keeps of its forward pass.
enum class Memory {
  Activations,  ///< what the gradients of all blocks need
  Constant,     ///< what the gradients of one block need, however many blocks there are; each block's forward runs
                ///< twice. For models with closed_form() and credit computed from the output error alone, such as
                ///< DFA's; an Error for others
};

/// Options of a trainer.
struct TrainerOptions {
  double lr = 1e-3;
  double weight_decay = 0.01;
  /// Scales gradients down to this norm if they exceed it: by default each block's separately and never the embed's or
  /// the readout's; with clip_scope = ClipScope::All, all parameters' together.
  std::optional<double> clip_norm = std::nullopt;
  /// The number of epochs over which the cosine falls to 0; schedules see it too.
  std::int64_t epochs = 100;
  /// Seeds the trainer's own generators, from which credit sources draw. LibTorch's global generator is never seeded.
  std::int64_t seed = 42;
  Optimizer optimizer = Optimizer::AdamW;
  Rate rate = Rate::Cosine;
  /// Used by SGD alone.
  double momentum = 0.9;
  ClipScope clip_scope = ClipScope::Block;
  Path path = Path::Auto;
  Memory memory = Memory::Activations;
  MatmulPrecision precision = MatmulPrecision::Float32;

  /// Throws Error for an invalid value.
  void check() const {
    namespace expect = detail::expect;
    expect::not_negative("TrainerOptions", "lr", lr);
    expect::not_negative("TrainerOptions", "weight_decay", weight_decay);
    expect::not_negative("TrainerOptions", "momentum", momentum);
    expect::that(!clip_norm || *clip_norm > 0, "TrainerOptions", "clip_norm", clip_norm.value_or(0),
                 "a number > 0, or std::nullopt for no clipping");
    expect::at_least("TrainerOptions", "epochs", epochs, 1);
  }
};

/// The result of a step, as tensors on the model's device, so that the host does not wait for the device.
struct StepResult {
  torch::Tensor loss;     ///< mean loss of the batch before the step, a scalar
  torch::Tensor correct;  ///< the number of correctly classified samples before the step, a scalar
};

}  // namespace creditlib
