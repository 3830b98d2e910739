// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/target_range.hpp>
#include <creditlib/progress.hpp>
#include <creditlib/trainer/mixing.hpp>
#include <creditlib/trainer_options.hpp>
#include <vector>

namespace creditlib::detail {

/// What a graphed step needs of a trainer's inside; a friend of the trainers.
struct TrainerAccess {
  /// What must happen on the host before a step.
  template <class Trainer>
  static void begin_step(Trainer& trainer) {
    trainer.begin_step();
  }
  /// A step without that and the observer.
  template <class Trainer>
  static StepResult step(Trainer& trainer, const torch::Tensor& x, const torch::Tensor& y) {
    return trainer.unobserved_step(x, y);
  }
  /// What a step has found of its target; and to have it looked at once the device has computed it: after a step, or
  /// after a replay of one.
  template <class Trainer>
  static const RangeFinding& finding(const Trainer& trainer) {
    return trainer.targets_.finding();
  }
  template <class Trainer>
  static void watch_target(Trainer& trainer) {
    trainer.watch_target();
  }
  template <class Trainer>
  static void watch_target(Trainer& trainer, const RangeFinding& finding) {
    trainer.targets_.send(trainer.steps(), finding);
  }
  template <class Trainer>
  static void observe(Trainer& trainer, const torch::Tensor& x, const torch::Tensor& y) {
    trainer.observer_.after_step(trainer, x, y);
  }
  template <class Trainer>
  static const Progress& progress(const Trainer& trainer) {
    return trainer.training_.progress();
  }
  template <class Trainer>
  static void set_progress(Trainer& trainer, const Progress& progress) {
    trainer.training_.set_progress(progress);
  }
  template <class Trainer>
  static void count_step(Trainer& trainer) {
    trainer.training_.count_step();
  }
  template <class Trainer>
  static bool graphable(const Trainer& trainer) {
    return trainer.training_.graphable();
  }
  /// The next step makes its buffers anew.
  template <class Trainer>
  static void forget_buffers(Trainer& trainer) {
    trainer.passes_.forget_buffers();
  }
  /// Which credit sources learn in the step that comes.
  template <class Trainer>
  static auto learns(const Trainer& trainer) {
    return mixing_of(*trainer.schedule_, progress(trainer)).learns;
  }
  /// The generators that the credit sources draw from, on the host.
  template <class Trainer>
  static std::vector<torch::Generator> generators(const Trainer& trainer) {
    return trainer.own_generators();
  }
};

}  // namespace creditlib::detail
