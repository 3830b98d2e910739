// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/trainer_options.hpp>
#include <cstdint>
#include <vector>

namespace creditlib::detail {

/// What a graphed step needs of a trainer's inside; a friend of the trainers.
struct TrainerAccess {
  /// A step without the observer.
  template <class Trainer>
  static StepResult step(Trainer& trainer, const torch::Tensor& x, const torch::Tensor& y) {
    return trainer.unobserved_step(x, y);
  }
  template <class Trainer>
  static void observe(Trainer& trainer, const torch::Tensor& x, const torch::Tensor& y) {
    trainer.observer_.after_step(trainer, x, y);
  }
  template <class Trainer>
  static void set_steps(Trainer& trainer, std::int64_t steps) {
    trainer.training_.set_steps(steps);
  }
  /// The next step makes its buffers anew.
  template <class Trainer>
  static void forget_buffers(Trainer& trainer) {
    trainer.passes_.forget_buffers();
  }
  /// The generators that the credit sources draw from, on the host.
  template <class Trainer>
  static std::vector<torch::Generator> generators(const Trainer& trainer) {
    return trainer.own_generators();
  }
};

}  // namespace creditlib::detail
