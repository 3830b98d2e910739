#pragma once

#include <creditlib/concepts.hpp>
#include <creditlib/credit/features.hpp>
#include <creditlib/detail/forward.hpp>
#include <creditlib/detail/observer.hpp>
#include <creditlib/detail/requirements.hpp>
#include <creditlib/detail/sources.hpp>
#include <creditlib/detail/training.hpp>
#include <creditlib/loss/inner_product.hpp>
#include <creditlib/normalizer/row_rms.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/schedule/always.hpp>
#include <creditlib/trainer_options.hpp>

#include <cmath>
#include <filesystem>
#include <functional>
#include <vector>

namespace creditlib {

/// Trains a network block by block from a credit signal.
///
/// One step: one forward pass in which each block sees a detached h_l; the source's credits a_0..a_L; the local losses
/// (block l: LocalLoss(f_l, a_{l+1}); embed: <h_0, a_0>; readout: the objective); one backward from all of them at once; one
/// optimiser step. Nothing in it waits for the device. A trainer leaves the model's train/eval mode alone.
///
/// Model is a module holder or shared_ptr (BlockModel); the trainer shares it. All arguments but the first two may be left out
/// or skipped with {}; the template arguments are deduced from them. Every failure is an Error, thrown before the parameters
/// change. Trainers move and are not copied.
template <class Model, class Credit, class Schedule = Always, class Normalizer = RowRms, class LocalLoss = InnerProduct,
          class Objective = CrossEntropy>
class LocalTrainer {
  static consteval bool sound() {
    if constexpr (detail::model_is_sound<Model>()) {
      return detail::SourceTraits<Credit, Model>::sound() &
             detail::schedule_is_sound<Schedule, detail::SourceTraits<Credit, Model>::count>() &
             detail::normalizer_is_sound<Normalizer>() & detail::local_loss_is_sound<LocalLoss>() & detail::objective_is_sound<Objective>();
    } else {
      return false;
    }
  }
  static_assert(sound() || true);  // the sentences are in there

  using Sources = detail::Sources<Credit, Model>;
  using Weights = typename Sources::Weights;

 public:
  explicit LocalTrainer(Model model, Credit credit = {}, TrainerOptions options = {}, Schedule schedule = {}, Normalizer normalizer = {},
                        LocalLoss loss = {}, Objective objective = {})
      : training_(detail::translated([&] {
          if (model && model->blocks() < 1) {
            detail::fail("LocalTrainer: the model has no blocks, so there is nothing to train locally; use BackpropTrainer.");
          }
          return detail::Training<Model>(std::move(model), options);
        })),
        sources_(detail::translated([&] {
          return Sources(credit, training_.model(), training_.device(), training_.dtype(), options.seed);
        })),
        schedule_(std::move(schedule)),
        normalizer_(std::move(normalizer)),
        loss_(std::move(loss)),
        objective_(std::move(objective)) {
    weights();  // a schedule that cannot be meant says so now
  }

  LocalTrainer(LocalTrainer&&) = default;
  LocalTrainer& operator=(LocalTrainer&&) = default;
  LocalTrainer(const LocalTrainer&) = delete;
  LocalTrainer& operator=(const LocalTrainer&) = delete;

  /// One training step on the batch x (B, ...), y (B).
  StepResult step(const torch::Tensor& x, const torch::Tensor& y) {
    return detail::translated([&] {
      training_.check_batch(objective_, x, y);
      auto pass = forward(x, y);
      const auto credits = normalized(mixed(pass.trace));
      sources_.learn(model(), pass.trace, learning());
      training_.apply(local_gradients(pass, credits));
      detail::TraceAccess::release(pass.trace);
      sources_.after_step(model(), pass.trace);
      const auto result = summary(pass.trace);
      observer_.after_step(*this, x, y);
      return result;
    });
  }

  /// Calls `look(trainer, x, y)` after every `every`-th step of the run with that step's batch: for diagnostics. Its time is
  /// kept apart, in observation_seconds().
  void observe(std::int64_t every, std::function<void(LocalTrainer&, const torch::Tensor&, const torch::Tensor&)> look) {
    observer_.set(every, std::move(look));
  }
  double observation_seconds() const { return observer_.seconds(); }

  /// Ends an epoch: the learning rate and the schedule go on.
  void end_epoch() { training_.end_epoch(); }

  /// The normalised credits a_0..a_L that a step on this batch would use; a_0 is undefined where the model has no embed
  /// parameters. Nothing is changed: not the model's running statistics, not any generator.
  std::vector<torch::Tensor> credits(const torch::Tensor& x, const torch::Tensor& y) {
    return preview(x, y, [&](detail::ForwardPass& pass) { return normalized(mixed(pass.trace)); });
  }

  /// The same before the normalizer, for diagnostics that scale matters to.
  std::vector<torch::Tensor> raw_credits(const torch::Tensor& x, const torch::Tensor& y) {
    return preview(x, y, [&](detail::ForwardPass& pass) { return mixed(pass.trace); });
  }

  /// The gradients that a step on this batch would apply (clipped), in the order of the model's parameters(); undefined for a
  /// parameter that is frozen or that no gradient reaches. Nothing is changed.
  std::vector<torch::Tensor> gradients(const torch::Tensor& x, const torch::Tensor& y) {
    return preview(x, y, [&](detail::ForwardPass& pass) { return local_gradients(pass, normalized(mixed(pass.trace))); });
  }

  /// The sources' own learning alone, of those that the schedule lets learn now; the model is not changed.
  void learn(const torch::Tensor& x, const torch::Tensor& y) {
    detail::translated([&] {
      training_.check_batch(objective_, x, y);
      const detail::Untouched untouched(*model(), training_.device());
      const auto pass = forward(x, y);
      sources_.learn(model(), pass.trace, learning());
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
      if (!std::isfinite(weight)) detail::fail("The schedule gives the weight ", weight, " in epoch ", epoch(), ", expected a finite number.");
      any = any || weight != 0;
    }
    if (!any) detail::fail("The schedule gives every credit source the weight 0 in epoch ", epoch(), "; one must train the network.");
    return weights;
  }

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
  detail::ForwardPass forward(const torch::Tensor& x, const torch::Tensor& y) {
    return detail::forward_in_blocks(model(), objective_, x, y, Sources::pullbacks(weights(), learning()));
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
    if (!detail::has_embed(model())) {
      credits[0].reset();
    } else if (!credits[0].defined()) {
      detail::fail("The credit source gave no credit for h_0, but the model's embed has parameters to train.");
    }
    for (auto& a : credits) {
      if (a.defined()) a = a.detach();
    }
    return credits;
  }

  std::vector<torch::Tensor> normalized(std::vector<torch::Tensor> credits) const {
    const torch::NoGradGuard no_grad;
    for (auto& a : credits) {
      if (a.defined()) a = normalizer_(a).detach();
    }
    return credits;
  }

  /// The parameters' gradients of all local losses, by one backward; it uses the pass's graph up.
  std::vector<torch::Tensor> local_gradients(detail::ForwardPass& pass, const std::vector<torch::Tensor>& credits) {
    torch::Tensor error = pass.trace.error;
    if (const auto states = sources_.local_inputs(model(), pass.trace, weights())) {
      const detail::Untouched untouched(*model(), training_.device());
      detail::rerun_blocks(model(), *states, pass);
      error = objective_.error(pass.logits.detach(), pass.trace.target);
    }
    detail::Roots roots;
    if (credits[0].defined()) roots.add(pass.embedded, embed_loss().output_gradient(pass.embedded.detach(), credits[0]));
    for (std::size_t l = 0; l < pass.branch.size(); ++l) add_local_loss(roots, pass.branch[l], credits[l + 1]);
    roots.add(pass.logits, error / static_cast<double>(error.size(0)));
    return training_.gradients(roots);
  }

  void add_local_loss(detail::Roots& roots, const torch::Tensor& f, const torch::Tensor& a) const {
    if constexpr (requires { loss_.output_gradient(f, a); }) {
      roots.add(f, loss_.output_gradient(f.detach(), a));
    } else {
      const torch::AutoGradMode grad(true);
      const torch::Tensor loss = loss_(f, a);
      if (loss.dim() != 0) detail::fail("The local loss is ", detail::tensor_text(loss), ", expected a scalar: the mean over the batch.");
      roots.add(loss);
    }
  }

  InnerProduct embed_loss() const {
    if constexpr (requires { loss_.embed_loss(); }) {
      return loss_.embed_loss();
    } else {
      return {};
    }
  }

  StepResult summary(const Trace& trace) const {
    const torch::NoGradGuard no_grad;
    StepResult result{objective_.loss(trace.logits, trace.target).mean(), torch::zeros({}, trace.error.options().dtype(torch::kInt64))};
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
      auto pass = forward(x, y);
      return action(pass);
    });
  }

  detail::Training<Model> training_;
  detail::Observer<LocalTrainer> observer_;
  Sources sources_;
  Schedule schedule_;
  Normalizer normalizer_;
  LocalLoss loss_;
  Objective objective_;
};

}  // namespace creditlib
