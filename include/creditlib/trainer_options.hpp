// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/expect.hpp>
#include <cstdint>
#include <memory>
#include <optional>

namespace creditlib::distributed {
class Group;  // creditlib/distributed/group.hpp
}

namespace creditlib {

/// Shorthand for optimizer::AdamW{} and optimizer::SGD{}.
enum class Optimizer { AdamW, SGD };

/// Shorthand for rate::Cosine{} and rate::Constant{}.
enum class Rate { Cosine, Constant };

/// What clip_norm is shorthand for: clip::ByBlock, which scales each block's gradients separately (embed and readout are
/// never clipped), or clip::ByAll, which scales all gradients together.
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

/// Where credit sources draw the random numbers of a step; those of bind are drawn on the CPU.
enum class Draws {
  Host,    ///< on the CPU, and sent to the model's device: the same numbers on all devices
  Device,  ///< on the model's device: no host work and no copies, but other numbers on each kind of device
};

/// Factors on the learning rate of each part of a model.
struct LrFactors {
  double embed = 1;
  double blocks = 1;
  double readout = 1;

  bool operator==(const LrFactors&) const = default;
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
  /// Of Optimizer::SGD. Use the policy optimizer::SGD{.momentum = ...} instead: this goes with 0.2.
  double momentum = 0.9;
  ClipScope clip_scope = ClipScope::Block;
  Path path = Path::Auto;
  Memory memory = Memory::Activations;
  MatmulPrecision precision = MatmulPrecision::Float32;
  Draws draws = Draws::Host;
  /// .readout = 10 trains the readout with 10 lr.
  LrFactors lr_factors = {};
  /// Whether weight_decay applies to parameters with fewer than two dimensions too: biases, and norms' weights.
  bool decay_norms_and_biases = true;
  /// The processes that train this network together, each on rows of its own of every batch (docs/distributed.md); none
  /// or distributed::alone(): this process alone.
  std::shared_ptr<distributed::Group> group = nullptr;

  /// Throws Error for an invalid value.
  void check() const {
    namespace expect = detail::expect;
    expect::not_negative("TrainerOptions", "lr", lr);
    expect::not_negative("TrainerOptions", "weight_decay", weight_decay);
    expect::not_negative("TrainerOptions", "momentum", momentum);
    expect::that(!clip_norm || *clip_norm > 0, "TrainerOptions", "clip_norm", clip_norm.value_or(0),
                 "a number > 0, or std::nullopt for no clipping");
    expect::at_least("TrainerOptions", "epochs", epochs, 1);
    expect::not_negative("TrainerOptions", "lr_factors.embed", lr_factors.embed);
    expect::not_negative("TrainerOptions", "lr_factors.blocks", lr_factors.blocks);
    expect::not_negative("TrainerOptions", "lr_factors.readout", lr_factors.readout);
  }
};

/// The result of a step, as tensors on the model's device, so that the host does not wait for the device.
struct StepResult {
  torch::Tensor loss;     ///< mean loss of the batch before the step, a scalar
  torch::Tensor correct;  ///< the number of correctly classified samples before the step, a scalar
};

/// Euclidean norms of a step's gradients before and after clipping, on the model's device: of the embed, of blocks
/// 0..L-1, of the readout, (L+2); 0 for a part without gradients.
struct GradientNorms {
  torch::Tensor unscaled;
  torch::Tensor scaled;
};

}  // namespace creditlib
