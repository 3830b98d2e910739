// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <creditlib/concepts.hpp>
#include <creditlib/loss/inner_product.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/normalizer/natural_normalizer.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/pass/pushforward_check.hpp>
#include <creditlib/pass/transported_uses.hpp>
#include <creditlib/schedule/always.hpp>
#include <creditlib/trainer/base.hpp>
#include <creditlib/trainer/expected_logits.hpp>
#include <creditlib/trainer/local_losses.hpp>
#include <creditlib/trainer/policies.hpp>
#include <creditlib/trainer/requirements.hpp>
#include <creditlib/trainer/sources.hpp>
#include <creditlib/trainer_options.hpp>
#include <optional>
#include <utility>
#include <vector>

namespace creditlib {

/// Trains a network block by block from a credit signal.
///
/// One step:
/// - one forward pass in which each block sees a detached h_l;
/// - the source's credits a_0..a_L, mixed by the schedule and normalized;
/// - the local losses: block l LocalLoss(f_l, a_{l+1}), the embed <h_0, a_0>, the readout the objective;
/// - one backward from all of them at once, and one optimizer step.
///
/// Nothing in it waits for the device. A trainer does not change the model's train/eval mode.
///
/// Model is a module holder or shared_ptr (BlockModel); the trainer shares it. Policies come after the options, in any
/// order, and are told apart by their concepts; the template arguments are deduced. Without a normalizer the trainer has
/// the one that the rule is defined with (NaturalNormalizer). Trainers move and are not copied.
/// step, backward, end_step, observe, end_epoch, report, norms, save, load, model, options, epoch, steps, rate and path
/// are those of every trainer (trainer/base.hpp).
///
/// Throws Error for every failure, before the parameters change; only a source's after_step sees the change. The source
/// may have drawn or learned by then. A label out of range on a device is reported by a later call, end_epoch() at the
/// latest, after a step with the nearest class.
template <class Model, class Credit, class Schedule = Always, class Normalizer = NaturalNormalizer<Credit>,
          class LocalLoss = InnerProduct, class Objective = CrossEntropy>
class LocalTrainer : public detail::TrainerBase<LocalTrainer<Model, Credit, Schedule, Normalizer, LocalLoss, Objective>,
                                                Model, Objective> {
  static consteval bool sound() {
    if constexpr (detail::model_is_sound<Model>()) {
      using Traits = detail::SourceTraits<Credit, Model>;
      return detail::all_of({Traits::sound(), detail::schedule_is_sound<Schedule, Traits::count>(),
                             detail::normalizer_is_sound<Normalizer>(), detail::local_loss_is_sound<LocalLoss>(),
                             detail::objective_is_sound<Objective>()});
    } else {
      return false;
    }
  }
  using Requirements = std::bool_constant<sound()>;  // fails to compile with the reasons

  using Base = detail::TrainerBase<LocalTrainer, Model, Objective>;
  using Sources = detail::Sources<Credit, Model>;
  using Mixing = detail::Mixing<Sources::count>;
  using Kind = detail::PolicyKind;
  using States = std::optional<std::vector<torch::Tensor>>;
  using Base::objective_, Base::passes_, Base::previewed, Base::summary, Base::training_;

 public:
  // A template, since clang 19 deduces from a constructor without regard to its constraint unless it is one.
  template <bool in_place =
                detail::fits_place<Schedule, Kind::Schedule> && detail::fits_place<Normalizer, Kind::Normalizer> &&
                detail::fits_place<LocalLoss, Kind::LocalLoss> && detail::fits_place<Objective, Kind::Objective>>
    requires in_place
  explicit LocalTrainer(Model model, const Credit& credit = {}, TrainerOptions options = {}, Schedule schedule = {},
                        Normalizer normalizer = {}, LocalLoss loss = {}, Objective objective = {})
      : LocalTrainer(detail::UpdatePolicies{}, std::move(model), credit, options, std::move(schedule),
                     std::move(normalizer), std::move(loss), std::move(objective)) {}

  /// The same with policies in any order: a schedule, a normalizer, a local loss, an objective, an optimizer, a rate, a
  /// clip, at most one of each.
  template <class... Policies>
    requires(sizeof...(Policies) > 0)
  LocalTrainer(Model model, const Credit& credit, TrainerOptions options, Policies&&... policies)
      : LocalTrainer(detail::update_policies(std::forward<Policies>(policies)...), std::move(model), credit, options,
                     detail::picked<Kind::Schedule, Schedule>(std::forward<Policies>(policies)...),
                     detail::picked<Kind::Normalizer, Normalizer>(std::forward<Policies>(policies)...),
                     detail::picked<Kind::LocalLoss, LocalLoss>(std::forward<Policies>(policies)...),
                     detail::picked<Kind::Objective, Objective>(std::forward<Policies>(policies)...)) {
    static_assert(detail::policies_are_sound<Policies...>(),
                  "creditlib: LocalTrainer cannot take these policies; the sentence above says why");
  }

  /// The normalized credits a_0..a_L that a step on this batch would use; a_0 is undefined if the model has no embed
  /// parameters. Nothing is changed: not the model's running statistics, not any generator.
  std::vector<torch::Tensor> credits(const torch::Tensor& x, const torch::Tensor& y) {
    return preview(x, y, [&](const Trace& trace, detail::Pass&, const Mixing& now) {
      return local_.normalized(mixed_credit(trace, now));
    });
  }

  /// The same before the normalizer, for diagnostics that depend on scale.
  std::vector<torch::Tensor> raw_credits(const torch::Tensor& x, const torch::Tensor& y) {
    return preview(x, y,
                   [&](const Trace& trace, detail::Pass&, const Mixing& now) { return mixed_credit(trace, now); });
  }

  /// The gradients that a step on this batch would apply (clipped), in the order of distinct_parameters(*model);
  /// undefined for a parameter that is frozen or that no gradient reaches. Nothing is changed.
  std::vector<torch::Tensor> gradients(const torch::Tensor& x, const torch::Tensor& y) {
    return preview(x, y, [&](const Trace& trace, detail::Pass& pass, const Mixing& now) {
      const auto credit = credit_of(trace, now);
      const auto elsewhere = sources_.local_inputs(this->model(), trace, now);
      auto sums = this->gradient_sums(x.size(0));
      auto gradients = gradients_of(credit, trace, pass, now, elsewhere, sums.ready());
      sums.finish(gradients, pass.factors(training_.parameters()));
      return training_.clipped(std::move(gradients));
    });
  }

  /// The sources' own learning alone, of those that the schedule lets learn now; the model is not changed.
  void learn(const torch::Tensor& x, const torch::Tensor& y) {
    previewed(x, y, [&] {
      const auto now = detail::mixing_of(*schedule_, training_.progress());
      check_network(x, now);
      const auto [trace, pass, loss] = passes_.preview(this->model(), *objective_, x, y, Sources::rights(now));
      transport(*pass, now);
      sources_.learn(this->model(), trace, now);
    });
  }

  /// The schedule's weight of each source in the present epoch and step.
  std::array<double, Sources::count> weights() const { return detail::weights_of(*schedule_, training_.progress()); }

  /// The credit source's run state; of a Mix `.first` and `.second`.
  auto& state() { return sources_.state(); }
  const auto& state() const { return sources_.state(); }

 private:
  friend Base;
  friend struct detail::TrainerAccess;

  static constexpr auto draws_for_all = Sources::Traits::draws_for_all;
  static constexpr bool keeps_factors = Sources::factors && detail::LocalLosses<Normalizer, LocalLoss>::accept_factors;

  LocalTrainer(detail::UpdatePolicies update, Model model, const Credit& credit, const TrainerOptions& options,
               Schedule schedule, Normalizer normalizer, LocalLoss loss, Objective objective) try
      : Base(with_blocks(std::move(model)), options, std::move(update), std::move(objective)),
        sources_(credit, this->model(), training_.device(), training_.dtype(), options,
                 detail::takes_labels(*objective_, logits_shape(this->model()), training_.dtype()),
                 training_.together().group()),
        schedule_(std::move(schedule)),
        local_(std::move(normalizer), std::move(loss)) {
    detail::check_positions(this->model(), local_.loss());
    weights();  // an invalid schedule is refused now, and feedback that does not fit
    uses_to_check_ = sources_.transported_parameters(this->model());
    if (Sources::Traits::transports && options.precision == MatmulPrecision::BFloat16 &&
        this->path() == Path::ClosedForm) {
      detail::fail(
          "TrainerOptions: precision is BFloat16, with which the backward pass reads rounded copies of the "
          "parameters and not the feedback that this rule puts in their place (transport); use Float32.");
    }
    if (options.memory == Memory::Constant && !(keeps_factors && Sources::Traits::reads_error_only)) {
      detail::fail(
          "TrainerOptions: memory is Constant, which requires credit computed from the output error alone (its state "
          "says so: reads_error_only, without wants_pullback and wants_pushforward) and kept as factors (DFA under "
          "RowRms or Raw, and InnerProduct); use Memory::Activations.");
    }
    if (Sources::pushes() && this->path() == Path::Generic) {
      pushforward_check_.at_no_batch(this->model(), training_.device(), training_.dtype());
    }
    if (training_.together()) Sources::check_data_parallel();
    this->agree();
  } catch (...) {
    detail::rethrow_translated();
  }

  static Model with_blocks(Model model) {
    if (model && model->blocks() < 1) {
      detail::fail("LocalTrainer: the model has no blocks, so there is nothing to train locally; use BackpropTrainer.");
    }
    return model;
  }

  /// A step until the update.
  detail::BatchOutcome outcome_of(const torch::Tensor& x, const torch::Tensor& y, const detail::GradientReady& ready) {
    const auto now = detail::mixing_of(*schedule_, training_.progress());
    check_network(x, now);
    auto [trace, pass, loss] = passes_.step(this->model(), *objective_, x, y, Sources::rights(now));
    transport(*pass, now);
    const auto credit = credit_of(trace, now);
    const auto elsewhere = sources_.local_inputs(this->model(), trace, now);
    sources_.learn(this->model(), trace, now);
    auto gradients = gradients_of(credit, trace, *pass, now, elsewhere, ready);
    auto result = summary(loss, trace.logits, trace.target);
    if constexpr (!Sources::sees_updates) trace = {};  // nobody will ask, and its buffers are the next step's
    return {std::move(result), std::move(gradients), std::move(trace), pass->factors(training_.parameters())};
  }
  void after_update(const Trace& trace) { sources_.after_step(this->model(), trace); }

  /// Runs `action` on a forward pass of the batch and puts everything back.
  template <class Action>
  std::vector<torch::Tensor> preview(const torch::Tensor& x, const torch::Tensor& y, const Action& action) {
    return previewed(x, y, [&] {
      const scope::RestoredGenerators generators(sources_.generators());
      const scope::RestoredTensors state(sources_.tensors_that_credit_may_change());
      const auto now = detail::mixing_of(*schedule_, training_.progress());
      check_network(x, now);
      const auto [trace, pass, loss] = passes_.preview(this->model(), *objective_, x, y, Sources::rights(now));
      transport(*pass, now);
      return action(trace, *pass, now);
    });
  }

  /// Refuses a network that the sources cannot train, as far as a batch alone shows it, before they draw or learn.
  void check_network(const torch::Tensor& x, const Mixing& now) {
    if constexpr (Sources::pushes()) {
      if (this->path() == Path::Generic && Sources::rights(now).pushforward) {
        pushforward_check_.at_batch(this->model(), x, passes_.runner());
      }
    }
    if constexpr (Sources::Traits::transports) {
      if (passes_.runner().autocast) {
        detail::fail(
            "Autocast is on, under which the backward pass reads casts of the parameters and not the feedback "
            "that this rule puts in their place (transport); switch autocast off.");
      }
      if (uses_to_check_.empty() || this->path() != Path::Generic || !Sources::transports(now)) return;
      detail::check_transported_uses(this->model(), uses_to_check_, x, passes_.runner());
      uses_to_check_.clear();
    }
  }

  /// Tells the pass what its backward reads in the place of parameters.
  void transport(detail::Pass& pass, const Mixing& now) {
    if constexpr (Sources::Traits::transports) pass.set_transport(sources_.transport(this->model(), now));
  }

  // ---- Credit ----

  /// As factors if source, normalizer, local loss and pass can all keep it so, otherwise dense.
  detail::StepCredit credit_of(const Trace& trace, const Mixing& now) {
    if constexpr (keeps_factors) {
      if (passes_.take_factors(training_.device()) &&
          local_.scale_credit(hidden_shapes(this->model()), trace.error.size(0))) {
        if (auto factors = sources_.factored_credit(this->model(), trace, now)) {
          keep_embed_credit_if_trained(factors->front());
          return {.factors = std::move(*factors)};
        }
      }
    }
    if (this->options().memory == Memory::Constant) {
      detail::fail(
          "The local loss, or a schedule that mixes two sources, needs credit that is multiplied out, which "
          "Memory::Constant has no room for; use Memory::Activations.");
    }
    return {.dense = local_.normalized(mixed_credit(trace, now))};
  }

  /// The sources' credits under the schedule; a_0 only if there is an embed to train.
  std::vector<torch::Tensor> mixed_credit(const Trace& trace, const Mixing& now) {
    auto credits = sources_.credit(this->model(), trace, now);
    keep_embed_credit_if_trained(credits[0]);
    for (auto& a : credits) {
      if (a.defined()) a = a.detach();
    }
    return credits;
  }

  template <class A>
  void keep_embed_credit_if_trained(A& a) {
    if (!has_embed(this->model())) {
      a = A{};
    } else if (!a.defined()) {
      detail::fail("The credit source gave no credit for h_0, but the model's embed has parameters to train.");
    }
  }

  // ---- Gradients ----

  /// The parameters' gradients: of the local losses and the objective, at the trace's own states or at others.
  std::vector<torch::Tensor> gradients_of(const detail::StepCredit& credit, const Trace& trace, detail::Pass& pass,
                                          const Mixing& now, const States& elsewhere,
                                          const detail::GradientReady& ready) {
    const torch::NoGradGuard no_grad;
    auto branch = trace.branch;
    auto error = trace.error;
    if (elsewhere) {
      detail::check_local_inputs(this->model(), *elsewhere, error.size(0));
      const scope::Untouched untouched(*this->model(), training_.device());
      auto outputs = pass.rerun(*elsewhere);
      branch = std::move(outputs.branch);
      error = objective_->error(outputs.logits, trace.target);
    }
    const bool sums_factors = training_.together() && training_.device().is_cpu();
    pass.keep_factors(sums_factors);
    auto from = local_.gradients(credit, trace.hidden, branch,
                                 /*only_factors=*/sums_factors || this->options().memory == Memory::Constant);
    from.readout = error / static_cast<double>(error.size(0));
    const detail::ExchangedStorages exchanged(pass.transport(Sources::transported(now)));
    return pass.gradients(from, training_.parameters(), ready);
  }

  // ---- What a checkpoint keeps of the sources ----

  NamedTensors own_tensors() const { return sources_.named_tensors(); }
  std::vector<torch::Generator> own_generators() const { return sources_.generators(); }

  Sources sources_;
  detail::PushforwardCheck<Model> pushforward_check_;
  NamedTensors uses_to_check_;  ///< what transport replaces, until a batch has shown how the network uses it
  detail::Assignable<Schedule> schedule_;
  detail::LocalLosses<Normalizer, LocalLoss> local_;
};

/// The template arguments from policies in any order.
template <class Model, class Credit, class... Policies>
  requires(sizeof...(Policies) > 0)
LocalTrainer(Model, const Credit&, TrainerOptions, Policies&&...)
    -> LocalTrainer<
        Model, Credit, typename detail::PolicyOf<detail::PolicyKind::Schedule, Always, Policies...>::type,
        typename detail::PolicyOf<detail::PolicyKind::Normalizer, NaturalNormalizer<Credit>, Policies...>::type,
        typename detail::PolicyOf<detail::PolicyKind::LocalLoss, InnerProduct, Policies...>::type,
        typename detail::PolicyOf<detail::PolicyKind::Objective, CrossEntropy, Policies...>::type>;

}  // namespace creditlib
