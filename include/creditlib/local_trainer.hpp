#pragma once

#include <cmath>
#include <creditlib/concepts.hpp>
#include <creditlib/credit/features.hpp>
#include <creditlib/detail/local_losses.hpp>
#include <creditlib/detail/observer.hpp>
#include <creditlib/detail/passes.hpp>
#include <creditlib/detail/requirements.hpp>
#include <creditlib/detail/sources.hpp>
#include <creditlib/detail/training.hpp>
#include <creditlib/loss/inner_product.hpp>
#include <creditlib/normalizer/row_rms.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/schedule/always.hpp>
#include <creditlib/trainer_options.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace creditlib {

/// Trains a network block by block from a credit signal.
///
/// One step: one forward pass in which each block sees a detached h_l; the source's credits a_0..a_L; the local losses
/// (block l: LocalLoss(f_l, a_{l+1}); embed: <h_0, a_0>; readout: the objective); one backward from all of them at
/// once; one optimiser step. Nothing in it waits for the device. A trainer leaves the model's train/eval mode alone.
///
/// Model is a module holder or shared_ptr (BlockModel); the trainer shares it. All arguments but the first two may be
/// left out or skipped with {}; the template arguments are deduced from them. Every failure is an Error, thrown before
/// the parameters change, but for one of a source's after_step, which sees the change. Trainers move and are not
/// copied.
template <class Model, class Credit, class Schedule = Always, class Normalizer = RowRms, class LocalLoss = InnerProduct,
          class Objective = CrossEntropy>
class LocalTrainer {
  static consteval bool sound() {
    if constexpr (detail::model_is_sound<Model>()) {
      return detail::SourceTraits<Credit, Model>::sound() &
             detail::schedule_is_sound<Schedule, detail::SourceTraits<Credit, Model>::count>() &
             detail::normalizer_is_sound<Normalizer>() & detail::local_loss_is_sound<LocalLoss>() &
             detail::objective_is_sound<Objective>();
    } else {
      return false;
    }
  }
  using Requirements = std::bool_constant<sound()>;  // says in sentences what does not fit

  using Sources = detail::Sources<Credit, Model>;
  using Weights = typename Sources::Weights;

 public:
  explicit LocalTrainer(Model model, Credit credit = {}, TrainerOptions options = {}, Schedule schedule = {},
                        Normalizer normalizer = {}, LocalLoss loss = {}, Objective objective = {})
      : training_(detail::translated([&] {
          if (model && model->blocks() < 1) {
            detail::fail(
                "LocalTrainer: the model has no blocks, so there is nothing to train locally; use BackpropTrainer.");
          }
          return detail::Training<Model>(std::move(model), options);
        })),
        sources_(detail::translated(
            [&] { return Sources(credit, training_.model(), training_.device(), training_.dtype(), options.seed); })),
        passes_(detail::translated(
            [&] { return detail::Passes<Model>(training_.model(), options, training_.parameters()); })),
        schedule_(std::move(schedule)),
        local_(std::move(normalizer), std::move(loss)),
        objective_(std::move(objective)) {
    weights();  // a schedule that cannot be meant says so now
    if (options.memory == Memory::Constant && !(keeps_factors && Sources::Traits::reads_error_only)) {
      detail::fail(
          "TrainerOptions: memory is Constant, which goes with credit that is told from the error alone (its state "
          "says so: reads_error_only) and kept as factors (DFA under RowRms or Raw, and InnerProduct); use "
          "Memory::Activations.");
    }
  }

  LocalTrainer(LocalTrainer&&) = default;
  LocalTrainer& operator=(LocalTrainer&&) = default;
  LocalTrainer(const LocalTrainer&) = delete;
  LocalTrainer& operator=(const LocalTrainer&) = delete;

  /// One training step on the batch x (B, ...), y (B).
  StepResult step(const torch::Tensor& x, const torch::Tensor& y) {
    auto result = unobserved_step(x, y);
    observer_.after_step(*this, x, y);
    return result;
  }

  /// Calls `look(trainer, x, y)` after every `every`-th step of the run with that step's batch: for diagnostics. Its
  /// time is kept apart, in observation_seconds().
  void observe(std::int64_t every,
               std::function<void(LocalTrainer&, const torch::Tensor&, const torch::Tensor&)> look) {
    observer_.set(every, std::move(look));
  }
  double observation_seconds() const { return observer_.seconds(); }

  /// Ends an epoch: the learning rate and the schedule go on.
  void end_epoch() { training_.end_epoch(); }

  /// The normalised credits a_0..a_L that a step on this batch would use; a_0 is undefined where the model has no embed
  /// parameters. Nothing is changed: not the model's running statistics, not any generator.
  std::vector<torch::Tensor> credits(const torch::Tensor& x, const torch::Tensor& y) {
    return preview(x, y, [&](const Trace& trace, detail::Pass&) { return normalized(mixed(trace)); });
  }

  /// The same before the normalizer, for diagnostics that scale matters to.
  std::vector<torch::Tensor> raw_credits(const torch::Tensor& x, const torch::Tensor& y) {
    return preview(x, y, [&](const Trace& trace, detail::Pass&) { return mixed(trace); });
  }

  /// The gradients that a step on this batch would apply (clipped), in the order of the model's parameters(); undefined
  /// for a parameter that is frozen or that no gradient reaches. Nothing is changed.
  std::vector<torch::Tensor> gradients(const torch::Tensor& x, const torch::Tensor& y) {
    return preview(x, y, [&](const Trace& trace, detail::Pass& pass) {
      return training_.clipped(pass.gradients(output_gradients(trace, pass, [] {}), training_.parameters()));
    });
  }

  /// The sources' own learning alone, of those that the schedule lets learn now; the model is not changed.
  void learn(const torch::Tensor& x, const torch::Tensor& y) {
    detail::translated([&] {
      training_.check_batch(objective_, x, y);
      const detail::Untouched untouched(*model(), training_.device());
      const auto [trace, pass] = forward(x, y);
      sources_.learn(model(), trace, learning());
    });
  }

  /// Writes all state, whole or not at all: model, optimiser, credit source, epoch and step, the trainer's generators.
  void save(const std::filesystem::path& path) const {
    detail::translated([&] { training_.save(path, sources_.named_tensors(), sources_.generators()); });
  }

  /// Reads what save wrote, of a trainer of the same model and kinds of parts; its options stay this trainer's.
  void load(const std::filesystem::path& path) {
    detail::translated([&] { training_.load(path, sources_.named_tensors(), sources_.generators()); });
  }

  /// The schedule's weight of each source in the present epoch and step.
  Weights weights() const {
    const Weights weights = schedule_.weights(training_.progress());
    bool any = false;
    for (const double weight : weights) {
      if (!std::isfinite(weight))
        detail::fail("The schedule gives the weight ", weight, " in epoch ", epoch(), ", expected a finite number.");
      any = any || weight != 0;
    }
    if (!any)
      detail::fail("The schedule gives every credit source the weight 0 in epoch ", epoch(),
                   "; one must train the network.");
    return weights;
  }

  /// How steps are computed: Path::ClosedForm or Path::Generic.
  Path path() const { return passes_.path(); }

  /// The credit source's run state; for a Mix `.first` and `.second`.
  auto& state() { return sources_.state(); }
  const auto& state() const { return sources_.state(); }

  Model& model() { return training_.model(); }
  const Model& model() const { return training_.model(); }
  const TrainerOptions& options() const { return training_.options(); }
  std::int64_t epoch() const { return training_.epoch(); }
  std::int64_t steps() const { return training_.steps(); }
  /// The learning rate of the present epoch.
  double rate() const { return training_.rate(); }

 private:
  friend struct detail::TrainerAccess;

  StepResult unobserved_step(const torch::Tensor& x, const torch::Tensor& y) {
    return detail::translated([&] {
      training_.check_batch(objective_, x, y);
      const auto [trace, pass] = passes_.forward_for_step(model(), objective_, x, y, pullbacks());
      const auto from =
          output_gradients(trace, *pass, [&, &trace = trace] { sources_.learn(model(), trace, learning()); });
      auto gradients = training_.clipped(pass->gradients(from, training_.parameters()));
      auto result = summary(trace);
      training_.apply(std::move(gradients));
      sources_.after_step(model(), trace);
      return result;
    });
  }

  bool pullbacks() const { return Sources::pullbacks(weights(), learning()); }

  /// A forward pass for those who change nothing.
  detail::ForwardPass forward(const torch::Tensor& x, const torch::Tensor& y) {
    return passes_.forward(model(), objective_, x, y, pullbacks(), passes_.closed_form());
  }

  std::array<bool, Sources::count> learning() const {
    if constexpr (detail::SaysWhatLearns<Schedule>) {
      return schedule_.learns(training_.progress());
    } else {
      std::array<bool, Sources::count> learning{};
      const auto now = weights();
      for (std::size_t i = 0; i < now.size(); ++i) learning[i] = now[i] != 0;
      return learning;
    }
  }

  /// The sources' credits under the schedule; a_0 only where there is an embed to train.
  std::vector<torch::Tensor> mixed(const Trace& trace) {
    const torch::NoGradGuard no_grad;
    auto credits = sources_.credit(model(), trace, weights());
    keep_embed_credit_if_trained(credits[0]);
    for (auto& a : credits) {
      if (a.defined()) a = a.detach();
    }
    return credits;
  }

  std::vector<torch::Tensor> normalized(std::vector<torch::Tensor> credits) const {
    const torch::NoGradGuard no_grad;
    return local_.normalized(std::move(credits));
  }

  template <class A>
  void keep_embed_credit_if_trained(A& a) {
    if (!detail::has_embed(model())) {
      a = A{};
    } else if (!a.defined()) {
      detail::fail("The credit source gave no credit for h_0, but the model's embed has parameters to train.");
    }
  }

  /// The gradients of all local losses in what the parts of the network give out: embed, blocks and readout. `learn` is
  /// called when credit has been given, and before the pass runs at other states than the trace's.
  template <class Learn>
  detail::OutputGradients output_gradients(const Trace& trace, detail::Pass& pass, const Learn& learn) {
    const torch::NoGradGuard no_grad;
    auto factored = factored_gradients(trace, pass);
    std::vector<torch::Tensor> credits;
    if (!factored) credits = normalized(mixed(trace));
    const auto states = sources_.local_inputs(model(), trace, weights());
    learn();
    auto error = trace.error;
    if (states) {
      rerun(pass, *states, error.size(0));
      error = objective_.error(pass.logits(), trace.target);
    }
    auto from = factored ? std::move(*factored) : local_.gradients(trace.hidden[0], pass, credits);
    from.readout = error / static_cast<double>(error.size(0));
    return from;
  }

  /// Those of embed and blocks from credit that is kept as factors, where pass, source, normalizer and local loss can
  /// all keep it so.
  std::optional<detail::OutputGradients> factored_gradients([[maybe_unused]] const Trace& trace,
                                                            const detail::Pass& pass) {
    if constexpr (keeps_factors) {
      const auto multiples = pass.takes_factors() ? local_.multiples_of_credit(pass) : std::nullopt;
      auto credits = multiples ? sources_.factored_credit(model(), trace, weights()) : std::nullopt;
      if (credits) {
        keep_embed_credit_if_trained(credits->front());
        return local_.gradients(pass, *credits, *multiples);
      }
    }
    if (!pass.takes_dense()) {
      detail::fail(
          "The local loss, or a schedule that mixes two sources, needs credit that is multiplied out, which "
          "Memory::Constant has no room for; use Memory::Activations.");
    }
    return std::nullopt;
  }

  static constexpr bool keeps_factors = Sources::factors && detail::LocalLosses<Normalizer, LocalLoss>::keeps_factors;

  /// Runs blocks and readout again at the states that a source's local_inputs are, which the step then trains on.
  void rerun(detail::Pass& pass, const std::vector<torch::Tensor>& states, std::int64_t batch) {
    detail::check_local_inputs(model(), states, batch);
    const detail::Untouched untouched(*model(), training_.device());
    pass.rerun(states);
  }

  StepResult summary(const Trace& trace) const {
    const torch::NoGradGuard no_grad;
    StepResult result{objective_.loss(trace.logits, trace.target).mean(),
                      torch::zeros({}, trace.error.options().dtype(torch::kInt64))};
    if constexpr (requires { objective_.correct(trace.logits, trace.target); }) {
      result.correct = objective_.correct(trace.logits, trace.target);
    }
    return result;
  }

  /// Runs `action` on a forward pass of the batch and puts everything back.
  template <class Action>
  std::vector<torch::Tensor> preview(const torch::Tensor& x, const torch::Tensor& y, const Action& action) {
    return detail::translated([&] {
      training_.check_batch(objective_, x, y);
      const detail::Untouched untouched(*model(), training_.device());
      const detail::RestoredGenerators generators(sources_.generators());
      const detail::RestoredTensors state(sources_.tensors_that_credit_may_change());
      const auto [trace, pass] = forward(x, y);
      return action(trace, *pass);
    });
  }

  detail::Training<Model> training_;
  detail::Observer<LocalTrainer> observer_;
  Sources sources_;
  detail::Passes<Model> passes_;
  Schedule schedule_;
  detail::LocalLosses<Normalizer, LocalLoss> local_;
  Objective objective_;
};

}  // namespace creditlib
