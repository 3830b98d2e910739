// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/closed_form/model.hpp>
#include <creditlib/concepts.hpp>

/// `static_assert` messages for types that miss a requirement: one per requirement, each with a fix. The requirements
/// are those that the public concepts are made of, and those on optional members: one that has the name must have the
/// signature.
namespace creditlib::detail {

template <class M>
consteval bool model_is_sound() {
  static_assert(holds(HoldsModule<M>),
                "creditlib: the model needs to be a torch::nn module holder or a std::shared_ptr to a "
                "torch::nn::Module");
  if constexpr (!HoldsModule<M>) {
    return false;
  } else {
    static_assert(holds(HasEmbed<M>),
                  "creditlib: the model needs `torch::Tensor embed(torch::Tensor x)`, which gives h_0 (return x if "
                  "there is no embed)");
    static_assert(holds(HasBlocks<M>),
                  "creditlib: the model needs `std::int64_t blocks() const`: how many blocks there are");
    static_assert(holds(HasBlock<M>),
                  "creditlib: the model needs `torch::Tensor block(std::int64_t l, torch::Tensor h)`, which gives f_l, "
                  "the branch of block l");
    static_assert(holds(HasJoin<M>),
                  "creditlib: the model needs `torch::Tensor join(std::int64_t l, torch::Tensor h, torch::Tensor f)`, "
                  "which gives h_{l+1}: h + f or f");
    static_assert(holds(HasReadout<M>),
                  "creditlib: the model needs `torch::Tensor readout(torch::Tensor h)`, which gives the logits (B, "
                  "classes)");
    static_assert(holds(HasForward<M>),
                  "creditlib: the model needs `torch::Tensor forward(torch::Tensor x)`, which gives the logits of the "
                  "whole network");
    static_assert(holds(HasClasses<M>),
                  "creditlib: the model needs `std::int64_t classes() const`: the width of the logits");
    static_assert(
        holds(HasHiddenShape<M>),
        "creditlib: the model needs `std::vector<std::int64_t> hidden_shape(std::int64_t l) const`: the sizes "
        "of h_l for one sample, l = 0..blocks()");
    static_assert(holds(HasEmbedParameters<M>),
                  "creditlib: the model needs `std::vector<torch::Tensor> embed_parameters() const` (empty if there is "
                  "no embed)");
    static_assert(holds(HasBlockParameters<M>),
                  "creditlib: the model needs `std::vector<torch::Tensor> block_parameters(std::int64_t l) const`");
    static_assert(holds(HasReadoutParameters<M>),
                  "creditlib: the model needs `std::vector<torch::Tensor> readout_parameters() const`");
    constexpr bool closed_form =
        ClosedFormModel<M> || !names_closed_form<std::remove_cvref_t<decltype(*std::declval<M&>())>>;
    static_assert(closed_form,
                  "creditlib: closed_form is there but not callable as "
                  "`std::optional<creditlib::closed_form::Network> closed_form()`");
    return BlockModel<M> && closed_form;
  }
}

template <class C, class M>
consteval bool credit_is_sound() {
  static_assert(holds(std::copyable<C>),
                "creditlib: a credit source's config must be copyable; run-time state belongs into what bind returns");
  constexpr bool bind = Binds<C, M> || !names_bind<C>;
  static_assert(bind,
                "creditlib: bind must be callable as `bind(model, const creditlib::BindContext&) const` and return the "
                "run state; is it const?");
  if constexpr (!bind) {
    return false;
  } else {
    using S = CreditState<C, M>;
    static_assert(holds(GivesCredit<S, M>),
                  "creditlib: credit(model, const creditlib::Trace&) of the run state must return "
                  "std::vector<torch::Tensor>, one credit for each of h_0..h_L");
    constexpr bool learn = Learns<S, M> || !names_learn<S>;
    static_assert(learn, "creditlib: learn is there but not callable as `learn(model, const creditlib::Trace&)`");
    constexpr bool after_step = SeesUpdates<S, M> || !names_after_step<S>;
    static_assert(after_step,
                  "creditlib: after_step is there but not callable as `after_step(model, const creditlib::Trace&)`");
    constexpr bool local_inputs = HasLocalInputs<S, M> || !names_local_inputs<S>;
    static_assert(local_inputs,
                  "creditlib: local_inputs is there but not callable as `local_inputs(model, const creditlib::Trace&)` "
                  "that returns std::vector<torch::Tensor>, h'_0..h'_L");
    constexpr bool factored_credit = GivesFactors<S, M> || !names_factored_credit<S>;
    static_assert(factored_credit,
                  "creditlib: factored_credit is there but not callable as `factored_credit(model, const "
                  "creditlib::Trace&)` that returns std::vector<creditlib::FactoredCredit>, one for each of h_0..h_L");
    constexpr bool reads = SaysWhatItReads<S> || !names_reads<S>;
    static_assert(reads, "creditlib: reads is there but not callable as `creditlib::Reads reads() const`");
    constexpr bool transport = HasTransport<S, M> || !names_transport<S>;
    static_assert(transport,
                  "creditlib: transport is there but not callable as `transport(model)` that returns "
                  "std::vector<torch::Tensor>, one for each of model->parameters()");
    constexpr bool named_tensors = HasNamedTensors<S> || !names_named_tensors<S>;
    static_assert(named_tensors,
                  "creditlib: named_tensors is there but not callable as `creditlib::NamedTensors named_tensors() "
                  "const`");
    constexpr bool tensors_of = HasTensorsOf<S> || !names_tensors_of<S>;
    static_assert(tensors_of,
                  "creditlib: tensors_of is there but not callable as `std::vector<torch::Tensor> "
                  "tensors_of(std::int64_t l) const`");
    constexpr bool wants_pullback =
        (DeclaresPullback<S> || !names_wants_pullback<S>) && (DeclaresPullback<C> || !names_wants_pullback<C>);
    static_assert(wants_pullback,
                  "creditlib: wants_pullback must be declared as `static constexpr bool wants_pullback = true;`");
    constexpr bool wants_pushforward = (DeclaresPushforward<S> || !names_wants_pushforward<S>) &&
                                       (DeclaresPushforward<C> || !names_wants_pushforward<C>);
    static_assert(wants_pushforward,
                  "creditlib: wants_pushforward must be declared as `static constexpr bool wants_pushforward = true;`");
    constexpr bool reads_error_only = DeclaresErrorOnly<S> || !names_reads_error_only<S>;
    static_assert(reads_error_only,
                  "creditlib: reads_error_only must be declared as `static constexpr bool reads_error_only = true;`");
    constexpr bool couples_samples = DeclaresCoupling<S> || !names_couples_samples<S>;
    static_assert(couples_samples,
                  "creditlib: couples_samples must be declared as `static constexpr bool couples_samples = true;`");
    constexpr bool data_parallel = DeclaresDataParallel<S> || !names_data_parallel<S>;
    static_assert(data_parallel,
                  "creditlib: data_parallel must be declared as `static constexpr bool data_parallel = true;`");
    constexpr bool block_parallel = DeclaresBlockParallel<S> || !names_block_parallel<S>;
    static_assert(block_parallel,
                  "creditlib: block_parallel must be declared as `static constexpr bool block_parallel = true;`");
    constexpr bool normalizer = NamesNormalizer<C> || !names_Normalizer<C>;
    static_assert(normalizer,
                  "creditlib: the config's Normalizer must be the type of a normalizer that is made without arguments: "
                  "`using Normalizer = creditlib::Raw;`");
    return CreditSource<C, M> && normalizer && learn && after_step && local_inputs && factored_credit && reads &&
           transport && named_tensors && tensors_of && wants_pullback && wants_pushforward && reads_error_only &&
           couples_samples && data_parallel && block_parallel;
  }
}

template <bool fits>
consteval bool fits_a_kind() {
  static_assert(
      fits,
      "creditlib: this policy fits no kind. A schedule has weights(progress), a normalizer is callable as "
      "Tensor(Tensor), a local loss as Tensor(Tensor f, Tensor a), an objective has loss, error and check, an "
      "optimizer has bind(std::vector<TrainedParameter>), a rate is callable as double(const Progress&), a "
      "clip as void(std::vector<Tensor>&, const ParameterParts&); all const");
  return fits;
}

template <class S, std::size_t Sources>
consteval bool schedule_is_sound() {
  constexpr bool meant = fits_a_kind < GivesWeights<S> || names_weights < S >> ();  // the first place takes any policy
  static_assert(holds(GivesWeights<S>) || !meant,
                "creditlib: a schedule needs `std::array<double, N> weights(const creditlib::Progress&) const`, one "
                "weight per credit source");
  constexpr bool fits = !GivesWeights<S> || weight_count<S>() == Sources;
  static_assert(fits,
                "creditlib: the schedule weighs another number of credit sources than there are: one source goes with "
                "Always, a Mix of two with SwitchAt, Blend or Warmup");
  constexpr bool learns = SaysWhatLearns<S> || !names_learns<S>;
  static_assert(learns,
                "creditlib: learns is there but not callable as `std::array<bool, N> learns(const "
                "creditlib::Progress&) const`");
  return Schedule<S> && fits && learns;
}

template <class N>
consteval bool normalizer_is_sound() {
  static_assert(holds(Normalizer<N>),
                "creditlib: a normalizer must be callable as `torch::Tensor operator()(torch::Tensor a) const`");
  constexpr bool factored = NormalizesFactors<N> || !names_factored<N>;
  static_assert(factored,
                "creditlib: factored is there but not callable as `creditlib::FactoredCredit factored(const "
                "creditlib::FactoredCredit&) const`");
  return Normalizer<N> && factored;
}

template <class L>
consteval bool local_loss_is_sound() {
  static_assert(holds(LocalLoss<L>),
                "creditlib: a local loss must be callable as `torch::Tensor operator()(torch::Tensor f, torch::Tensor "
                "a) const`, which gives the batch mean");
  constexpr bool output_gradient = HasOutputGradient<L> || !names_output_gradient<L>;
  static_assert(output_gradient,
                "creditlib: output_gradient is there but not callable as `torch::Tensor output_gradient(torch::Tensor "
                "f, torch::Tensor a) const`");
  constexpr bool embed_loss = HasEmbedLoss<L> || !names_embed_loss<L>;
  static_assert(embed_loss,
                "creditlib: embed_loss is there but not callable as `creditlib::InnerProduct embed_loss() const`");
  constexpr bool multiple_of_credit = HasMultipleOfCredit<L> || !names_multiple_of_credit<L>;
  static_assert(multiple_of_credit,
                "creditlib: multiple_of_credit is there but not callable as `std::optional<double> "
                "multiple_of_credit(torch::IntArrayRef sizes) const`");
  return LocalLoss<L> && output_gradient && embed_loss && multiple_of_credit;
}

template <class O>
consteval bool objective_is_sound() {
  static_assert(holds(Objective<O>),
                "creditlib: an objective needs `loss(logits, target)` -> (B), `error(logits, target)` -> (B, C) and "
                "`check(logits, target)`, all const");
  constexpr bool correct = CountsCorrect<O> || !names_correct<O>;
  static_assert(correct,
                "creditlib: correct is there but not callable as `torch::Tensor correct(logits, target) const`, a "
                "scalar");
  constexpr bool in_range = BringsIntoRange<O> || !names_in_range<O>;
  static_assert(in_range,
                "creditlib: in_range is there but not callable as `torch::Tensor in_range(logits, target) const`, the "
                "target with values that loss can take, or an undefined tensor");
  return Objective<O> && correct && in_range;
}

/// Whether all hold; every one is evaluated, so that the compiler prints the sentences of all that do not.
consteval bool all_of(std::initializer_list<bool> requirements) {
  for (const bool holds : requirements) {
    if (!holds) return false;
  }
  return true;
}

}  // namespace creditlib::detail
