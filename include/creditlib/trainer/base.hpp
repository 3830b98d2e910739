// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/util/Type.h>

#include <creditlib/detail/assignable.hpp>
#include <creditlib/detail/autocast.hpp>
#include <creditlib/detail/target_range.hpp>
#include <creditlib/error.hpp>
#include <creditlib/scope/generators.hpp>
#include <creditlib/scope/untouched.hpp>
#include <creditlib/trace.hpp>
#include <creditlib/trainer/gradient_sums.hpp>
#include <creditlib/trainer/observer.hpp>
#include <creditlib/trainer/passes.hpp>
#include <creditlib/trainer/target_watch.hpp>
#include <creditlib/trainer/training.hpp>
#include <creditlib/trainer/update.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <typeinfo>
#include <utility>
#include <vector>

namespace creditlib::detail {

struct TrainerAccess;  // creditlib/trainer/access.hpp

/// What one batch comes to, before the update.
struct BatchOutcome {
  StepResult result;
  std::vector<torch::Tensor> gradients;        ///< in the order of distinct_parameters(*model), not clipped
  Trace trace = {};                            ///< what after_update is to see
  std::vector<FactoredGradient> factors = {};  ///< of gradients that are kept so, for their sum over processes
};

/// What LocalTrainer and BackpropTrainer share. Derived, the trainer, has the algorithm, `outcome_of(x, y, ready)` and
/// `after_update(trace)`, and what a checkpoint keeps beyond the model and its optimizer: `own_tensors()` and
/// `own_generators()`.
template <class Derived, class Model, class Objective>
class TrainerBase {
 public:
  TrainerBase(TrainerBase&&) = default;
  TrainerBase& operator=(TrainerBase&&) = default;
  TrainerBase(const TrainerBase&) = delete;
  TrainerBase& operator=(const TrainerBase&) = delete;

  /// One training step on the batch x (B, ...), y (B).
  StepResult step(const torch::Tensor& x, const torch::Tensor& y) {
    begin_step();
    auto result = unobserved_step(x, y);
    watch_target();
    observer_.after_step(derived(), x, y);
    return result;
  }

  // ---- A loop of your own: backward as often as you like, your optimizer's step, end_step ----

  /// A step without its update: forward, credit and the sources' learning. Adds the step's gradients to the parameters'
  /// .grad(), as loss.backward() does; running statistics move. Each call's gradients are clipped on their own.
  StepResult backward(const torch::Tensor& x, const torch::Tensor& y) {
    translated([&] { targets_.check(*objective_); });
    auto result = stepped(x, y, [&](const torch::Tensor& target) {
      auto taken = training_.take_gradients();
      try {
        auto outcome = joint_outcome(x, target);
        training_.accumulate(taken, std::move(outcome.gradients));
        pending_ = {x, y, std::move(outcome.trace)};
        return outcome.result;
      } catch (...) {
        training_.put_back(std::move(taken));
        throw;
      }
    });
    watch_target(/*counted=*/false);
    return result;
  }
  /// The parameters have been updated: counts the step, and shows the update to the credit source, with the trace of the
  /// last backward.
  void end_step() {
    const auto last = translated([&] {
      if (!pending_) fail("end_step: there was no backward since the last step; call backward(x, y) first.");
      auto pending = *std::exchange(pending_, std::nullopt);
      training_.count_step();
      const Autocast off(training_.device(), false);
      derived().after_update(pending.trace);
      return pending;
    });
    observer_.after_step(derived(), last.x, last.y);
  }

  /// Calls `look(trainer, x, y)` after every `every`-th step of the run with that step's batch: for diagnostics. Its
  /// time is counted separately, in observation_seconds().
  void observe(std::int64_t every, std::function<void(Derived&, const torch::Tensor&, const torch::Tensor&)> look) {
    observer_.set(every, std::move(look));
  }
  double observation_seconds() const { return observer_.seconds(); }

  /// Ends an epoch: advances the learning rate and the schedule. Processes that train together make sure that they have
  /// the same state, and throw Error if they do not. If a target on another device than the CPU may have had
  /// values out of range, waits for the device, and throws Error if one had.
  void end_epoch() {
    translated([&] { targets_.wait(*objective_); });
    training_.end_epoch();
    agree();
  }
  /// Tells a rate such as rate::ReduceOnPlateau how training goes: a validation loss, say. Throws Error if the rate takes
  /// no reports.
  void report(double value) {
    translated([&] { training_.report(value); });
  }

  /// From now on norms() has the norms of the last step's gradients, before and after clipping.
  void track_norms(bool on = true) { training_.track_norms(on); }
  /// Throws Error if they are not tracked, or there was no step since.
  const GradientNorms& norms() const {
    if (!training_.norms()) fail("norms: there are none; call track_norms() before the step.");
    return *training_.norms();
  }

  /// Calls `action`, which may take steps, and puts back what they change: model, optimizer, rate, credit source, epoch
  /// and step, .grad(), the trainer's generators and LibTorch's. For timings and what-ifs; observers do not see its
  /// steps.
  template <class Action>
  void rehearse(const Action& action) {
    translated([&] {
      refuse_pending("rehearse");
      auto observer = std::exchange(observer_, {});
      auto targets = std::exchange(targets_, {});
      const auto put_back = [&] {
        observer_ = std::move(observer);
        targets_ = std::move(targets);
        pending_.reset();
      };
      try {
        training_.rehearse(derived().own_tensors(), derived().own_generators(), [&] {
          action();
          targets_.wait(*objective_);
        });
      } catch (...) {
        put_back();
        throw;
      }
      put_back();
    });
  }

  /// Writes all state, completely or not at all: model, optimizer, rate, credit source, epoch and step, the trainer's
  /// generators. Throws Error between backward and end_step, since .grad() is not in a checkpoint, and where end_epoch
  /// does.
  void save(const std::filesystem::path& path) const {
    translated([&] {
      refuse_pending("save");
      targets_.wait(*objective_);
      training_.save(path, derived().own_tensors(), derived().own_generators());
    });
  }
  /// Reads what save wrote for a trainer of the same model and kinds of parts; the options stay this trainer's.
  void load(const std::filesystem::path& path) {
    translated([&] {
      training_.load(path, derived().own_tensors(), derived().own_generators());
      pending_.reset();
      targets_.forget();
      agree();
    });
  }

  Model& model() { return training_.model(); }
  const Model& model() const { return training_.model(); }
  const TrainerOptions& options() const { return training_.options(); }
  std::int64_t epoch() const { return training_.progress().epoch; }
  std::int64_t steps() const { return training_.progress().step; }
  /// The learning rate of the next step; with factors per part or group, that of a factor of 1 or of the first group.
  double rate() const { return training_.rate(); }
  /// How steps are computed: Path::ClosedForm or Path::Generic.
  Path path() const { return passes_.path(); }

 protected:
  TrainerBase(Model model, const TrainerOptions& options, UpdatePolicies policies, Objective objective) try
      : training_(std::move(model), options, std::move(policies)),
        passes_(training_.model(), options, training_.parameters()),
        objective_(std::move(objective)) {
  } catch (...) {
    rethrow_translated();
  }
  ~TrainerBase() = default;

  /// Throws Error, in all processes that train together, unless they have the same state.
  void agree() const {
    if (!training_.together()) return;
    training_.agree(c10::demangle(typeid(Derived).name()), derived().own_tensors(), derived().own_generators());
  }

  /// Runs `action` on a batch that fits, and restores everything that a forward pass changes.
  template <class Action>
  auto previewed(const torch::Tensor& x, const torch::Tensor& y, const Action& action) {
    return translated([&] {
      refuse_out_of_range(*objective_, training_.check_batch(*objective_, x, y), y);
      const scope::RestoredGlobalGenerators generators(training_.device());  // for parts other than the model too
      const scope::Untouched untouched(*model(), training_.device());
      return in_own_dtype(action);
    });
  }

  /// Runs `action(target)`, a step, on a batch that fits, with values in range. If it fails, running statistics are
  /// restored.
  template <class Action>
  StepResult stepped(const torch::Tensor& x, const torch::Tensor& y, const Action& action) {
    return translated([&] {
      const auto target = targets_.in_range(*objective_, training_.check_batch(*objective_, x, y), y);
      const scope::Drawing drawing;
      const scope::RestoredTensors running_statistics(training_.buffers(), scope::Restore::OnError);
      return in_own_dtype([&] { return action(target); });
    });
  }

  /// Runs `action` without the program's autocast, which acts within the parts of the network alone: hidden states,
  /// credit, losses and the update are in the model's dtype.
  template <class Action>
  auto in_own_dtype(const Action& action) {
    const Autocast off(training_.device(), false);
    passes_.set_runner({training_.device(), training_.dtype(), off.was_on()});
    return action();
  }

  /// On which a backward pass' gradients of this process' rows become those of the rows of all.
  GradientSums gradient_sums(std::int64_t samples) const {
    return training_.together().gradient_sums(training_.parts(), passes_.goes_up(), samples);
  }

  StepResult summary(const torch::Tensor& loss, const torch::Tensor& logits, const torch::Tensor& target) const {
    const torch::NoGradGuard no_grad;
    if constexpr (CountsCorrect<Objective>) {
      return {loss.detach(), objective_->correct(logits.detach(), target)};
    } else {
      return {loss.detach(), torch::zeros({}, logits.options().dtype(torch::kInt64))};
    }
  }

  Training<Model> training_;
  Passes<Model> passes_;
  Assignable<Objective> objective_;

 private:
  friend struct TrainerAccess;

  /// A backward that waits for its end_step.
  struct Pending {
    torch::Tensor x, y;
    Trace trace;
  };

  /// What a batch comes to, with the rows that other processes have of it.
  BatchOutcome joint_outcome(const torch::Tensor& x, const torch::Tensor& target) {
    const auto& together = training_.together();
    auto sums = gradient_sums(x.size(0));
    if (!together) return derived().outcome_of(x, target, sums.ready());
    const auto drawn_until_now = scope::states_of(derived().own_generators());
    auto outcome = derived().outcome_of(x, target, sums.ready());
    refuse_draws(drawn_until_now);
    outcome.result = sums.finish(outcome.gradients, outcome.factors, outcome.result);
    together.share(training_.buffers());
    return outcome;
  }
  void refuse_draws(const std::vector<torch::Tensor>& before) {
    constexpr auto sources = Derived::draws_for_all.size();
    if constexpr (sources > 0) {
      const auto now = scope::states_of(derived().own_generators());
      for (std::size_t i = 0; i < now.size(); ++i) {  // one of each source on the CPU, then those on the device
        if (Derived::draws_for_all[i % sources] || torch::equal(now[i], before[i])) continue;
        fail(
            "The credit source draws random numbers in a step, which would be the same for the rows of each process; "
            "train it in one process, or declare `static constexpr bool data_parallel = true` of its state, if it "
            "draws per sample by BindContext::sample_randn alone (docs/distributed.md).");
      }
    }
  }

  void refuse_pending(const char* what) const {
    if (pending_) fail(what, ": backward was called; update the parameters and call end_step() first.");
  }
  /// What a step does on the host alone.
  void begin_step() {
    translated([&] {
      refuse_pending("step");
      targets_.check(*objective_);
      training_.begin_step();
    });
  }
  StepResult unobserved_step(const torch::Tensor& x, const torch::Tensor& y) {
    return stepped(x, y, [&](const torch::Tensor& target) {
      auto outcome = joint_outcome(x, target);
      training_.apply(std::move(outcome.gradients));
      derived().after_update(outcome.trace);
      return outcome.result;
    });
  }

  /// What is out of range in the last step's target will be said later; not in a step that a graph captures.
  void watch_target(bool counted = true) {
    translated([&] { targets_.send(steps() + (counted ? 0 : 1)); });
  }

  Derived& derived() { return static_cast<Derived&>(*this); }
  const Derived& derived() const { return static_cast<const Derived&>(*this); }

  Observer<Derived> observer_;
  mutable TargetWatch<> targets_;
  std::optional<Pending> pending_;
};

}  // namespace creditlib::detail
