// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/error.hpp>
#include <creditlib/scope/untouched.hpp>
#include <creditlib/trainer/observer.hpp>
#include <creditlib/trainer/passes.hpp>
#include <creditlib/trainer/training.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <utility>

namespace creditlib::detail {

struct TrainerAccess;  // creditlib/trainer/access.hpp

/// What LocalTrainer and BackpropTrainer share. Derived, the trainer, has the algorithm: `unobserved_step(x, y)`; and
/// what a checkpoint keeps beyond the model and its optimizer: `own_tensors()` and `own_generators()`.
template <class Derived, class Model, class Objective>
class TrainerBase {
 public:
  TrainerBase(TrainerBase&&) = default;
  TrainerBase& operator=(TrainerBase&&) = default;
  TrainerBase(const TrainerBase&) = delete;
  TrainerBase& operator=(const TrainerBase&) = delete;

  /// One training step on the batch x (B, ...), y (B).
  StepResult step(const torch::Tensor& x, const torch::Tensor& y) {
    auto result = derived().unobserved_step(x, y);
    observer_.after_step(derived(), x, y);
    return result;
  }

  /// Calls `look(trainer, x, y)` after every `every`-th step of the run with that step's batch: for diagnostics. Its
  /// time is counted separately, in observation_seconds().
  void observe(std::int64_t every, std::function<void(Derived&, const torch::Tensor&, const torch::Tensor&)> look) {
    observer_.set(every, std::move(look));
  }
  double observation_seconds() const { return observer_.seconds(); }

  /// Ends an epoch: advances the learning rate and the schedule.
  void end_epoch() { training_.end_epoch(); }

  /// Writes all state, completely or not at all: model, optimizer, credit source, epoch and step, the trainer's generators.
  void save(const std::filesystem::path& path) const {
    translated([&] { training_.save(path, derived().own_tensors(), derived().own_generators()); });
  }
  /// Reads what save wrote for a trainer of the same model and kinds of parts; the options stay this trainer's.
  void load(const std::filesystem::path& path) {
    translated([&] { training_.load(path, derived().own_tensors(), derived().own_generators()); });
  }

  Model& model() { return training_.model(); }
  const Model& model() const { return training_.model(); }
  const TrainerOptions& options() const { return training_.options(); }
  std::int64_t epoch() const { return training_.epoch(); }
  std::int64_t steps() const { return training_.steps(); }
  /// The learning rate of the present epoch.
  double rate() const { return training_.rate(); }
  /// How steps are computed: Path::ClosedForm or Path::Generic.
  Path path() const { return passes_.path(); }

 protected:
  TrainerBase(Model model, const TrainerOptions& options, Objective objective) try
      : training_(std::move(model), options),
        passes_(training_.model(), options, training_.parameters()),
        objective_(std::move(objective)) {
  } catch (...) {
    rethrow_translated();
  }
  ~TrainerBase() = default;

  /// Runs `action` on a batch that fits, and restores everything that a forward pass changes.
  template <class Action>
  auto previewed(const torch::Tensor& x, const torch::Tensor& y, const Action& action) {
    return translated([&] {
      training_.check_batch(objective_, x, y);
      const scope::Untouched untouched(*model(), training_.device());
      return action();
    });
  }

  /// Runs `action`, a step, on a batch that fits. If it fails, running statistics are restored.
  template <class Action>
  StepResult stepped(const torch::Tensor& x, const torch::Tensor& y, const Action& action) {
    return translated([&] {
      training_.check_batch(objective_, x, y);
      const scope::RestoredTensors running_statistics(training_.buffers(), scope::Restore::OnError);
      return action();
    });
  }

  StepResult summary(const torch::Tensor& loss, const torch::Tensor& logits, const torch::Tensor& target) const {
    const torch::NoGradGuard no_grad;
    StepResult result{loss.detach(), torch::zeros({}, logits.options().dtype(torch::kInt64))};
    if constexpr (CountsCorrect<Objective>) result.correct = objective_.correct(logits.detach(), target);
    return result;
  }

  Training<Model> training_;
  Passes<Model> passes_;
  Objective objective_;

 private:
  friend struct TrainerAccess;

  Derived& derived() { return static_cast<Derived&>(*this); }
  const Derived& derived() const { return static_cast<const Derived&>(*this); }

  Observer<Derived> observer_;
};

}  // namespace creditlib::detail
