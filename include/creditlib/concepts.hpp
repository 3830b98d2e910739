#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <array>
#include <concepts>
#include <creditlib/bind_context.hpp>
#include <creditlib/credit/factored_credit.hpp>
#include <creditlib/detail/members.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/schedule/progress.hpp>
#include <creditlib/trace.hpp>
#include <cstdint>
#include <type_traits>
#include <vector>

/// The kinds of parts that trainers are put together from: for each its syntax, as a concept, then its meaning.
/// docs/concepts.md shows the smallest model of each.
namespace creditlib {

/// A network in blocks, held by a torch::nn module holder or a std::shared_ptr (all calls go through `model->`).
///
/// Meaning: h_0 = embed(x); f_l = block(l, h_l); h_{l+1} = join(l, h_l, f_l), which has no parameters; logits =
/// readout(h_L), (B, classes()); forward(x) is the composition. hidden_shape(l), l = 0..blocks(), are the sizes of h_l
/// without the batch: (d), (C, H, W) with channels first, or (N, d) with channels last. Every parameter of the module
/// belongs to exactly one of embed_parameters(), block_parameters(l) and readout_parameters(). block(l, h) leaves h as
/// it is.
template <class M>
concept BlockModel = requires(M& model, const torch::Tensor& t, std::int64_t l) {
  requires std::derived_from<std::remove_cvref_t<decltype(*model)>, torch::nn::Module>;
  { model->embed(t) } -> std::convertible_to<torch::Tensor>;
  { model->blocks() } -> std::convertible_to<std::int64_t>;
  { model->block(l, t) } -> std::convertible_to<torch::Tensor>;
  { model->join(l, t, t) } -> std::convertible_to<torch::Tensor>;
  { model->readout(t) } -> std::convertible_to<torch::Tensor>;
  { model->forward(t) } -> std::convertible_to<torch::Tensor>;
  { model->classes() } -> std::convertible_to<std::int64_t>;
  { model->hidden_shape(l) } -> std::convertible_to<std::vector<std::int64_t>>;
  { model->embed_parameters() } -> std::convertible_to<std::vector<torch::Tensor>>;
  { model->block_parameters(l) } -> std::convertible_to<std::vector<torch::Tensor>>;
  { model->readout_parameters() } -> std::convertible_to<std::vector<torch::Tensor>>;
};

namespace detail {

template <class C, class M>
concept Binds = requires(const C& source, M& model, const BindContext& context) {
  source.bind(model, context);
};

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
concept GivesCreditConst = requires(const S& state, M& model, const Trace& trace) {
  { state.credit(model, trace) } -> std::same_as<std::vector<torch::Tensor>>;
};
template <class S, class M>
concept Learns = requires(S& state, M& model, const Trace& trace) {
  state.learn(model, trace);
};
template <class S, class M>
concept SeesUpdates = requires(S& state, M& model, const Trace& trace) {
  state.after_step(model, trace);
};
template <class S, class M>
concept HasLocalInputs = requires(S& state, M& model, const Trace& trace) {
  { state.local_inputs(model, trace) } -> std::same_as<std::vector<torch::Tensor>>;
};
template <class S, class M>
concept GivesFactors = requires(S& state, M& model, const Trace& trace) {
  { state.factored_credit(model, trace) } -> std::same_as<std::vector<FactoredCredit>>;
};
template <class S>
concept HasNamedTensors = requires(const S& state) {
  { state.named_tensors() } -> std::convertible_to<NamedTensors>;
};
template <class S>
concept DeclaresErrorOnly = requires {
  typename std::bool_constant<S::reads_error_only>;
};
template <class S>
concept ReadsErrorOnly = DeclaresErrorOnly<S> && S::reads_error_only;
template <class S>
concept DeclaresPullback = requires {
  typename std::bool_constant<S::wants_pullback>;
};

/// Whether source C or its state S asks for Trace::pullback.
template <class C, class S>
consteval bool wants_pullback() {
  bool wants = false;
  if constexpr (DeclaresPullback<C>) wants = wants || C::wants_pullback;
  if constexpr (DeclaresPullback<S>) wants = wants || S::wants_pullback;
  return wants;
}

}  // namespace detail

/// The run state of credit source C on model M: what bind returns, or C itself where it has no bind.
template <class C, class M>
using CreditState = typename detail::StateOf<C, M>::type;

/// A credit rule: a copyable config whose `bind(model, BindContext)` const gives its run state (a source without state
/// may be its own), whose `credit(model, trace)` gives a_0..a_L, one a hidden state.
///
/// Meaning: a_l stands for dloss_i/dh_l of each sample (not divided by B); it has the shape of h_l, (B, ...), or one
/// value a channel, (B, C, 1, 1) or (B, 1, d), and the model's dtype and device; a_0 is for the embed, and is not read
/// where the model has no embed parameters. credit is called with grad mode off and leaves the model, the trace and, as
/// far as another call can see, the state as they were. Optional members of the state, found by their names (one that
/// is there with another signature is an error): `learn(model, trace)` trains nets of its own, with grad mode on, after
/// credit and before the parameter step; `after_step(model, trace)` sees the applied update; `local_inputs(model,
/// trace)` gives h'_0..h'_L at which blocks and readout are run again for the local step; `factored_credit(model,
/// trace)`, the same credit for (B, d) hidden states as one FactoredCredit a hidden state, which steps by formula use
/// where it saves work; `static constexpr bool reads_error_only = true` where that reads nothing of the trace but
/// `error`; `named_tensors()` const is what a checkpoint keeps, the state's own tensors, counters included; `static
/// constexpr bool wants_pullback = true` allows Trace::pullback.
template <class C, class M>
concept CreditSource = BlockModel<M> && std::copyable<C> && detail::GivesCredit<CreditState<C, M>, M>;

/// Meaning: gives credit of the same shape; what a step uses is normalizer(a_l), each hidden state's on its own.
/// Optional: `factored(FactoredCredit)`, the same of credit that is kept as factors.
template <class N>
concept Normalizer = std::copyable<N> && requires(const N& normalizer, torch::Tensor a) {
  { normalizer(a) } -> std::convertible_to<torch::Tensor>;
};

/// Meaning: a scalar, the batch mean, whose gradient in f trains the block; a is detached and has the shape of f or
/// broadcasts to it. Optional: `output_gradient(f, a)`, the closed form of the gradient in f (1/B included, shape of
/// f), used instead of a graph; `multiple_of_credit(f)` -> std::optional<double>, the k where that gradient is k a,
/// std::nullopt where it is none; `embed_loss()`, the InnerProduct that the embed is trained with (else
/// InnerProduct{}).
template <class L>
concept LocalLoss = std::copyable<L> && requires(const L& loss, torch::Tensor f, torch::Tensor a) {
  { loss(f, a) } -> std::convertible_to<torch::Tensor>;
};

/// Meaning: loss(logits, target) per sample, (B); error(logits, target) = dloss_i/dlogits, (B, C); check(logits,
/// target) throws Error for a target that does not fit (it is called before the forward pass with logits of the right
/// shape and no meaning). Optional: correct(logits, target), a scalar tensor that counts the right samples (else
/// StepResult::correct is 0).
template <class O>
concept Objective = std::copyable<O> &&
    requires(const O& objective, const torch::Tensor& logits, const torch::Tensor& target) {
  { objective.loss(logits, target) } -> std::convertible_to<torch::Tensor>;
  { objective.error(logits, target) } -> std::convertible_to<torch::Tensor>;
  objective.check(logits, target);
};

namespace detail {

template <class T>
struct WeightCount : std::integral_constant<std::size_t, 0> {};
template <std::size_t N>
struct WeightCount<std::array<double, N>> : std::integral_constant<std::size_t, N> {};

/// How many sources a schedule weighs; 0 where its weights() does not return std::array<double, N>.
template <class S>
consteval std::size_t weight_count() {
  if constexpr (requires(const S& schedule) { schedule.weights(Progress{}); }) {
    return WeightCount<std::remove_cvref_t<decltype(std::declval<const S&>().weights(Progress{}))>>::value;
  } else {
    return 0;
  }
}

template <class S>
concept SaysWhatLearns = requires(const S& schedule) {
  { schedule.learns(Progress{}) } -> std::same_as<std::array<bool, weight_count<S>()>>;
};

}  // namespace detail

/// Meaning: weights(Progress) gives one weight a source, not all of them 0. One source with a weight other than 0: its
/// credit as it is. Several: the sum of weight times credit, each normalised by its own RMS. Optional: learns(Progress)
/// -> std::array<bool, N>, which sources learn (else those with a weight other than 0).
template <class S>
concept Schedule = std::copyable<S> &&(detail::weight_count<S>() > 0);

}  // namespace creditlib
