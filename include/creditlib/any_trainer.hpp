// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>

#include <concepts>
#include <creditlib/detail/detect.hpp>
#include <creditlib/error.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/parameter_parts.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <typeinfo>
#include <utility>
#include <vector>

namespace creditlib {

namespace detail {

/// The members of every trainer, LocalTrainer and BackpropTrainer among them.
template <class T>
concept Trains = requires(T& trainer, const T& same, const torch::Tensor& x) {
  { trainer.step(x, x) } -> std::same_as<StepResult>;
  { trainer.credits(x, x) } -> GivesTensors;
  { trainer.raw_credits(x, x) } -> GivesTensors;
  { trainer.gradients(x, x) } -> GivesTensors;
  trainer.learn(x, x);
  { trainer.backward(x, x) } -> std::same_as<StepResult>;
  trainer.end_step();
  trainer.end_epoch();
  trainer.report(1.0);
  trainer.rehearse([] {});
  same.save(std::filesystem::path());
  trainer.load(std::filesystem::path());
  requires HoldsModule<std::remove_cvref_t<decltype(trainer.model())>>;
  { trainer.model()->forward(x) } -> GivesTensor;
  { same.options() } -> std::same_as<const TrainerOptions&>;
} && std::move_constructible<T>;

/// The named tensors of a source's run state; of a Mix's those of both sources, behind "first." and "second.".
template <class State>
NamedTensors tensors_of_state(const State& state) {
  if constexpr (HasNamedTensors<State>) {
    return state.named_tensors();
  } else if constexpr (requires {
                         state.first;
                         state.second;
                       }) {
    auto tensors = prefixed("first", tensors_of_state(state.first));
    for (auto& entry : prefixed("second", tensors_of_state(state.second))) tensors.push_back(std::move(entry));
    return tensors;
  } else {
    return {};
  }
}

}  // namespace detail

/// A trainer of any policies on any model: a type-erased LocalTrainer or BackpropTrainer. It is for programs that
/// choose a rule or a model at run time, and for code that should be compiled once rather than once per rule and model.
///
///     creditlib::AnyTrainer make(const std::string& rule, creditlib::ResidualMLP model) {
///       if (rule == "bp") return creditlib::BackpropTrainer(model);
///       return creditlib::LocalTrainer(model, creditlib::DFA{});
///     }
///
/// - It has the members of the trainer that it holds, with the same meaning. What depends on the types is given in a
///   common form: weights() is a vector, the model a torch::nn::Module, the source's state its named tensors.
/// - A call costs one virtual call more than the trainer's own. The numbers are the same.
/// - It moves and is not copied. The trainer that it holds does not move with it: a reference to it stays valid.
///
/// Throws Error where the trainer does, and for every call after it was moved from.
class AnyTrainer {
 public:
  /// Takes over a trainer; not explicit, so that a function that returns AnyTrainer may return any trainer.
  template <class Trainer>
    requires(!std::same_as<Trainer, AnyTrainer> && detail::Trains<Trainer>)
  AnyTrainer(Trainer trainer) : held_(std::make_unique<Holder<Trainer>>(std::move(trainer))) {}

  // ---- Training ----

  /// One training step on the batch x (B, ...), y (B).
  StepResult step(const torch::Tensor& x, const torch::Tensor& y) { return held().step(x, y); }
  /// A step without its update, which adds the step's gradients to .grad(); then, after your update, end_step.
  StepResult backward(const torch::Tensor& x, const torch::Tensor& y) { return held().backward(x, y); }
  void end_step() { held().end_step(); }
  /// The sources' own learning alone.
  void learn(const torch::Tensor& x, const torch::Tensor& y) { held().learn(x, y); }
  /// Ends an epoch: advances the learning rate and the schedule.
  void end_epoch() { held().end_epoch(); }
  /// Tells the rate how training goes.
  void report(double value) { held().report(value); }

  // ---- What a step on this batch would use; nothing is changed ----

  /// The normalized credits a_0..a_L.
  std::vector<torch::Tensor> credits(const torch::Tensor& x, const torch::Tensor& y) { return held().credits(x, y); }
  /// The same before the normalizer.
  std::vector<torch::Tensor> raw_credits(const torch::Tensor& x, const torch::Tensor& y) {
    return held().raw_credits(x, y);
  }
  /// The gradients, clipped, in the order of parameters(): a parameter that layers share once.
  std::vector<torch::Tensor> gradients(const torch::Tensor& x, const torch::Tensor& y) {
    return held().gradients(x, y);
  }

  /// Calls `action`, which may take steps of this trainer, and puts back what they change.
  void rehearse(const std::function<void()>& action) { held().rehearse(action); }

  // ---- Checkpoints ----

  /// Writes all state, whole or not at all.
  void save(const std::filesystem::path& path) const { held().save(path); }
  /// Reads what save wrote for a trainer of the same model and kinds of parts.
  void load(const std::filesystem::path& path) { held().load(path); }

  // ---- State of the run ----

  const TrainerOptions& options() const { return held().options(); }
  std::int64_t epoch() const { return held().epoch(); }
  std::int64_t steps() const { return held().steps(); }
  /// The learning rate of the next step.
  double rate() const { return held().rate(); }
  /// How steps are computed: Path::ClosedForm or Path::Generic.
  Path path() const { return held().path(); }
  /// The schedule's weight of each source in the present epoch and step; {1} for back-propagation.
  std::vector<double> weights() const { return held().weights(); }

  // ---- The model ----

  /// The model, which the trainer shares with whoever made it.
  torch::nn::Module& module() { return held().module(); }
  const torch::nn::Module& module() const { return const_cast<Held&>(held()).module(); }
  /// The logits of the whole network, with a graph if grad mode is on.
  torch::Tensor forward(const torch::Tensor& x) { return held().forward(x); }
  /// Puts the model into train or eval mode.
  void train(bool on = true) { module().train(on); }
  void eval() { module().eval(); }
  bool is_training() const { return module().is_training(); }
  /// Each once, in the order of gradients().
  std::vector<torch::Tensor> parameters() const { return distinct_parameters(module()); }
  NamedTensors named_parameters() const {
    NamedTensors named;
    for (const auto& entry : module().named_parameters()) named.emplace_back(entry.key(), entry.value());
    return named;
  }

  // ---- The credit source ----

  /// What the source has of its own (feedback, nets, their optimizers): its state's named_tensors, sharing their
  /// storage; those of a Mix behind "first." and "second."; none for back-propagation.
  NamedTensors credit_tensors() const { return held().credit_tensors(); }

  /// The trainer itself if it is a Trainer, otherwise null.
  template <class Trainer>
  Trainer* target() {
    auto& any = held();
    return any.type() == typeid(Trainer) ? &static_cast<Holder<Trainer>&>(any).trainer : nullptr;
  }
  template <class Trainer>
  const Trainer* target() const {
    return const_cast<AnyTrainer&>(*this).target<Trainer>();
  }

 private:
  struct Held {
    virtual ~Held() = default;
    virtual StepResult step(const torch::Tensor& x, const torch::Tensor& y) = 0;
    virtual StepResult backward(const torch::Tensor& x, const torch::Tensor& y) = 0;
    virtual void end_step() = 0;
    virtual void learn(const torch::Tensor& x, const torch::Tensor& y) = 0;
    virtual void end_epoch() = 0;
    virtual void report(double value) = 0;
    virtual std::vector<torch::Tensor> credits(const torch::Tensor& x, const torch::Tensor& y) = 0;
    virtual std::vector<torch::Tensor> raw_credits(const torch::Tensor& x, const torch::Tensor& y) = 0;
    virtual std::vector<torch::Tensor> gradients(const torch::Tensor& x, const torch::Tensor& y) = 0;
    virtual void rehearse(const std::function<void()>& action) = 0;
    virtual void save(const std::filesystem::path& path) const = 0;
    virtual void load(const std::filesystem::path& path) = 0;
    virtual const TrainerOptions& options() const = 0;
    virtual std::int64_t epoch() const = 0;
    virtual std::int64_t steps() const = 0;
    virtual double rate() const = 0;
    virtual Path path() const = 0;
    virtual std::vector<double> weights() const = 0;
    virtual torch::nn::Module& module() = 0;
    virtual torch::Tensor forward(const torch::Tensor& x) = 0;
    virtual NamedTensors credit_tensors() const = 0;
    virtual const std::type_info& type() const = 0;
  };

  template <class Trainer>
  struct Holder final : Held {
    explicit Holder(Trainer held) : trainer(std::move(held)) {}

    StepResult step(const torch::Tensor& x, const torch::Tensor& y) override { return trainer.step(x, y); }
    void learn(const torch::Tensor& x, const torch::Tensor& y) override { trainer.learn(x, y); }
    StepResult backward(const torch::Tensor& x, const torch::Tensor& y) override { return trainer.backward(x, y); }
    void end_step() override { trainer.end_step(); }
    void end_epoch() override { trainer.end_epoch(); }
    void report(double value) override { trainer.report(value); }
    std::vector<torch::Tensor> credits(const torch::Tensor& x, const torch::Tensor& y) override {
      return trainer.credits(x, y);
    }
    std::vector<torch::Tensor> raw_credits(const torch::Tensor& x, const torch::Tensor& y) override {
      return trainer.raw_credits(x, y);
    }
    std::vector<torch::Tensor> gradients(const torch::Tensor& x, const torch::Tensor& y) override {
      return trainer.gradients(x, y);
    }
    void rehearse(const std::function<void()>& action) override { trainer.rehearse(action); }
    void save(const std::filesystem::path& path) const override { trainer.save(path); }
    void load(const std::filesystem::path& path) override { trainer.load(path); }
    const TrainerOptions& options() const override { return trainer.options(); }
    std::int64_t epoch() const override { return trainer.epoch(); }
    std::int64_t steps() const override { return trainer.steps(); }
    double rate() const override { return trainer.rate(); }
    Path path() const override { return trainer.path(); }
    std::vector<double> weights() const override {
      if constexpr (requires { trainer.weights(); }) {
        const auto weights = trainer.weights();
        return {weights.begin(), weights.end()};
      } else {
        return {1};
      }
    }
    torch::nn::Module& module() override { return *trainer.model(); }
    torch::Tensor forward(const torch::Tensor& x) override {
      return detail::translated([&] { return torch::Tensor(trainer.model()->forward(x)); });
    }
    NamedTensors credit_tensors() const override {
      if constexpr (requires { trainer.state(); }) {
        return detail::tensors_of_state(trainer.state());
      } else {
        return {};
      }
    }
    const std::type_info& type() const override { return typeid(Trainer); }

    Trainer trainer;
  };

  Held& held() {
    if (!held_) detail::fail("AnyTrainer: this one was moved from and holds no trainer; use the one it was moved to.");
    return *held_;
  }
  const Held& held() const { return const_cast<AnyTrainer&>(*this).held(); }

  std::unique_ptr<Held> held_;
};

}  // namespace creditlib
