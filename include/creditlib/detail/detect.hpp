// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <array>
#include <concepts>
#include <creditlib/bind_context.hpp>
#include <creditlib/detail/members.hpp>
#include <creditlib/factored_credit.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/parameter_parts.hpp>
#include <creditlib/progress.hpp>
#include <creditlib/reads.hpp>
#include <creditlib/trace.hpp>
#include <creditlib/trained_parameter.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace torch::optim {
class Optimizer;
}

/// What the public concepts and the compiler's sentences are both made of: a concept per requirement.
namespace creditlib::detail {

/// A concept's value alone: of a concept itself a compiler explains at length why it does not hold.
consteval bool holds(bool requirement) { return requirement; }

/// T is convertible to Tensor, and so on: what a member returns.
template <class T>
concept GivesTensor = std::convertible_to<T, torch::Tensor>;
template <class T>
concept GivesInteger = std::convertible_to<T, std::int64_t>;
template <class T>
concept GivesTensors = std::convertible_to<T, std::vector<torch::Tensor>>;

// ---- BlockModel ----

template <class M>
concept HoldsModule =
    requires(M& model) { requires std::derived_from<std::remove_cvref_t<decltype(*model)>, torch::nn::Module>; };
template <class M>
concept HasEmbed = requires(M& model, const torch::Tensor& x) {
  { model->embed(x) } -> GivesTensor;
};
template <class M>
concept HasBlocks = requires(M& model) {
  { model->blocks() } -> GivesInteger;
};
template <class M>
concept HasBlock = requires(M& model, std::int64_t l, const torch::Tensor& h) {
  { model->block(l, h) } -> GivesTensor;
};
template <class M>
concept HasJoin = requires(M& model, std::int64_t l, const torch::Tensor& h, const torch::Tensor& f) {
  { model->join(l, h, f) } -> GivesTensor;
};
template <class M>
concept HasReadout = requires(M& model, const torch::Tensor& h) {
  { model->readout(h) } -> GivesTensor;
};
template <class M>
concept HasForward = requires(M& model, const torch::Tensor& x) {
  { model->forward(x) } -> GivesTensor;
};
template <class M>
concept HasClasses = requires(M& model) {
  { model->classes() } -> GivesInteger;
};
template <class M>
concept HasHiddenShape = requires(M& model, std::int64_t l) {
  { model->hidden_shape(l) } -> std::convertible_to<std::vector<std::int64_t>>;
};
template <class M>
concept HasEmbedParameters = requires(M& model) {
  { model->embed_parameters() } -> GivesTensors;
};
template <class M>
concept HasBlockParameters = requires(M& model, std::int64_t l) {
  { model->block_parameters(l) } -> GivesTensors;
};
template <class M>
concept HasReadoutParameters = requires(M& model) {
  { model->readout_parameters() } -> GivesTensors;
};

// ---- CreditSource: its config C, its run state S, on a model M ----

template <class C, class M>
concept Binds = requires(const C& source, M& model, const BindContext& context) { source.bind(model, context); };

template <class C, class M>
struct StateOf {
  using type = C;  // a source without bind is its own state
};
template <class C, class M>
  requires Binds<C, M>
struct StateOf<C, M> {
  using type = std::remove_cvref_t<decltype(std::declval<const C&>().bind(std::declval<M&>(),
                                                                          std::declval<const BindContext&>()))>;
};

template <class S, class M>
concept GivesCredit = requires(S& state, M& model, const Trace& trace) {
  { state.credit(model, trace) } -> std::same_as<std::vector<torch::Tensor>>;
};
template <class S, class M>
concept GivesCreditConst = GivesCredit<const S, M>;
template <class S, class M>
concept Learns = requires(S& state, M& model, const Trace& trace) { state.learn(model, trace); };
template <class S, class M>
concept SeesUpdates = requires(S& state, M& model, const Trace& trace) { state.after_step(model, trace); };
template <class S, class M>
concept HasLocalInputs = requires(S& state, M& model, const Trace& trace) {
  { state.local_inputs(model, trace) } -> std::same_as<std::vector<torch::Tensor>>;
};
template <class S, class M>
concept GivesFactors = requires(S& state, M& model, const Trace& trace) {
  { state.factored_credit(model, trace) } -> std::same_as<std::vector<FactoredCredit>>;
};
template <class S, class M>
concept HasTransport = requires(S& state, M& model) {
  { state.transport(model) } -> std::same_as<std::vector<torch::Tensor>>;
};
template <class S>
concept HasNamedTensors = requires(const S& state) {
  { state.named_tensors() } -> std::convertible_to<NamedTensors>;
};
template <class S>
concept HasTensorsOf = requires(const S& state) {
  { state.tensors_of(std::int64_t{0}) } -> std::convertible_to<std::vector<torch::Tensor>>;
};
template <class S>
concept SaysWhatItReads = requires(const S& state) {
  { state.reads() } -> std::same_as<Reads>;
};
template <class S>
concept DeclaresErrorOnly = requires { typename std::bool_constant<S::reads_error_only>; };
template <class S>
concept ReadsErrorOnly = DeclaresErrorOnly<S> && S::reads_error_only;
template <class S>
concept DeclaresCoupling = requires { typename std::bool_constant<S::couples_samples>; };
template <class S>
concept CouplesSamples = DeclaresCoupling<S> && S::couples_samples;
template <class S>
concept DeclaresDataParallel = requires { typename std::bool_constant<S::data_parallel>; };
template <class S>
concept IsDataParallel = DeclaresDataParallel<S> && S::data_parallel;
template <class S>
concept DeclaresBlockParallel = requires { typename std::bool_constant<S::block_parallel>; };
template <class S>
concept BlockParallel = DeclaresBlockParallel<S> && S::block_parallel;
template <class S>
concept DeclaresPullback = requires { typename std::bool_constant<S::wants_pullback>; };
template <class S>
concept DeclaresPushforward = requires { typename std::bool_constant<S::wants_pushforward>; };

/// What source C or its state S asks of a Trace.
template <class C, class S>
consteval TraceRights wanted_rights() {
  TraceRights rights;
  if constexpr (DeclaresPullback<C>) rights.pullback |= C::wants_pullback;
  if constexpr (DeclaresPullback<S>) rights.pullback |= S::wants_pullback;
  if constexpr (DeclaresPushforward<C>) rights.pushforward |= C::wants_pushforward;
  if constexpr (DeclaresPushforward<S>) rights.pushforward |= S::wants_pushforward;
  return rights;
}

// ---- Normalizer ----

template <class N>
concept Normalizes = requires(const N& normalizer, torch::Tensor a) {
  { normalizer(a) } -> GivesTensor;
};
template <class N>
concept NormalizesFactors = requires(const N& normalizer, const FactoredCredit& a) {
  { normalizer.factored(a) } -> std::same_as<FactoredCredit>;
};

/// The config of a credit source says which normalizer it is defined with.
template <class C>
concept NamesNormalizer =
    requires { typename C::Normalizer; } && Normalizes<typename C::Normalizer> &&
    std::default_initializable<typename C::Normalizer> && std::copy_constructible<typename C::Normalizer>;

// ---- LocalLoss ----

template <class L>
concept GivesLocalLoss = requires(const L& loss, torch::Tensor f, torch::Tensor a) {
  { loss(f, a) } -> GivesTensor;
};
template <class L>
concept HasOutputGradient = requires(const L& loss, torch::Tensor f, torch::Tensor a) {
  { loss.output_gradient(f, a) } -> GivesTensor;
};
template <class L>
concept HasEmbedLoss = requires(const L& loss, torch::Tensor f, torch::Tensor a) {
  { loss.embed_loss().output_gradient(f, a) } -> GivesTensor;
};
template <class L>
concept MultipleOfCreditFromSizes = requires(const L& loss, torch::IntArrayRef sizes) {
  { loss.multiple_of_credit(sizes) } -> std::same_as<std::optional<double>>;
};
template <class L>
concept HasMultipleOfCredit = MultipleOfCreditFromSizes<L> || requires(const L& loss, const torch::Tensor& f) {
  { loss.multiple_of_credit(f) } -> std::same_as<std::optional<double>>;
};

// ---- Objective ----

template <class O>
concept GivesLoss = requires(const O& objective, const torch::Tensor& logits, const torch::Tensor& target) {
  { objective.loss(logits, target) } -> GivesTensor;
};
template <class O>
concept GivesError = requires(const O& objective, const torch::Tensor& logits, const torch::Tensor& target) {
  { objective.error(logits, target) } -> GivesTensor;
};
template <class O>
concept ChecksTarget = requires(const O& objective, const torch::Tensor& logits, const torch::Tensor& target) {
  objective.check(logits, target);
};
template <class O>
concept BringsIntoRange = requires(const O& objective, const torch::Tensor& logits, const torch::Tensor& target) {
  { objective.in_range(logits, target) } -> GivesTensor;
};
template <class O>
concept CountsCorrect = requires(const O& objective, const torch::Tensor& logits, const torch::Tensor& target) {
  { objective.correct(logits, target) } -> GivesTensor;
};

// ---- Schedule ----

template <class T>
struct WeightCount : std::integral_constant<std::size_t, 0> {};
template <std::size_t N>
struct WeightCount<std::array<double, N>> : std::integral_constant<std::size_t, N> {};

/// How many sources a schedule weighs; 0 if its weights() does not return std::array<double, N>.
template <class S>
consteval std::size_t weight_count() {
  if constexpr (requires(const S& schedule) { schedule.weights(Progress{}); }) {
    return WeightCount<std::remove_cvref_t<decltype(std::declval<const S&>().weights(Progress{}))>>::value;
  } else {
    return 0;
  }
}

template <class S>
concept GivesWeights = weight_count<S>() > 0;
template <class S>
concept SaysWhatLearns = requires(const S& schedule) {
  { schedule.learns(Progress{}) } -> std::same_as<std::array<bool, weight_count<S>()>>;
};

// ---- Optimizer: its config O, its run state S ----

template <class O>
concept BindsOptimizer =
    requires(const O& optimizer, std::vector<TrainedParameter> parameters) { optimizer.bind(parameters); };
template <class S>
concept SetsRate = requires(S& state) { state.set_rate(1.0); };
template <class S>
concept StepsParameters = requires(S& state) { state.step(); };
template <class O>
concept GivesOptimizer = BindsOptimizer<O> && requires(const O& optimizer, std::vector<TrainedParameter> parameters) {
  { optimizer.bind(parameters) } -> SetsRate;
  { optimizer.bind(parameters) } -> StepsParameters;
  { optimizer.bind(parameters) } -> HasNamedTensors;
};
/// Whether a CUDA graph can hold the steps of an optimizer: none of them changes anything on the host.
template <class S>
concept DeclaresGraphable = requires { typename std::bool_constant<S::graphable>; } && S::graphable;

/// LibTorch's own optimizers, moved or shared.
template <class O>
struct IsTorchOptimizer : std::is_base_of<torch::optim::Optimizer, O> {};
template <class O>
struct IsTorchOptimizer<std::shared_ptr<O>> : std::is_base_of<torch::optim::Optimizer, O> {};
template <class O>
concept TorchOptimizer = std::is_class_v<O> && IsTorchOptimizer<O>::value;

// ---- Rate: a callable, or a config whose bind() gives one ----

template <class R>
concept GivesFactor = requires(const R& rate, const Progress& now) {
  { rate(now) } -> std::convertible_to<double>;
};
template <class R>
concept BindsRate = requires(const R& rate) {
  { rate.bind() } -> GivesFactor;
};
template <class R>
concept TakesReports = requires(R& rate) { rate.report(1.0); };

// ---- Clip ----

template <class C>
concept ClipsGradients = requires(const C& clip, std::vector<torch::Tensor>& gradients, const ParameterParts& parts) {
  { clip(gradients, parts) } -> std::same_as<void>;
};

/// A policy that checks its own options.
template <class P>
concept ChecksItself = requires(const P& policy) { policy.check(); };

}  // namespace creditlib::detail
