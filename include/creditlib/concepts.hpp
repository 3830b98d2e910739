// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <creditlib/detail/detect.hpp>

/// The kinds of parts that trainers are put together from, each a concept. docs/concepts.md shows the smallest type of
/// each kind. An optional member is found by its name; one that is there with another signature is a compile-time
/// error.
namespace creditlib {

/// A network in blocks, held by a torch::nn module holder or a std::shared_ptr: all calls go through `model->`.
///
///     h_0 = embed(x),    f_l = block(l, h_l),    h_{l+1} = join(l, h_l, f_l),    logits = readout(h_L)
///
/// - `embed(x)`: h_0; x itself if there is no embed.
/// - `blocks()`: L, how many blocks there are.
/// - `block(l, h)`: f_l, for l = 0..L-1; leaves h as it is.
/// - `join(l, h, f)`: h_{l+1}, h + f or f; has no parameters.
/// - `readout(h)`: the logits, (B, classes()), or with positions (B, N, classes()) or (B, classes(), H, W).
/// - `forward(x)`: the logits of the whole network, the composition of the above.
/// - `classes()`: C, the width of the logits.
/// - `hidden_shape(l)`, l = 0..L: the sizes of h_l without the batch, (d), (C, T), (C, H, W), (C, D, H, W) or (N, d); -1
///   for a number of positions that differs between batches.
/// - `embed_parameters()`, `block_parameters(l)`, `readout_parameters()`: every parameter of the module, in one
///   of these lists; one that layers share is of the first that has it, and its gradient is the sum of theirs.
///
/// Optional members:
/// - `HiddenLayout hidden_layout(l)`: which dimension of h_l holds features; needed for (C, T) (network/shape.hpp).
/// - `std::vector<std::int64_t> logits_shape()`: the sizes of the logits without the batch; needed with positions.
/// - `std::optional<closed_form::Network> closed_form()`: the layers that the network is made of (ClosedFormModel).
template <class M>
concept BlockModel = detail::HoldsModule<M> && detail::HasEmbed<M> && detail::HasBlocks<M> && detail::HasBlock<M> &&
                     detail::HasJoin<M> && detail::HasReadout<M> && detail::HasForward<M> && detail::HasClasses<M> &&
                     detail::HasHiddenShape<M> && detail::HasEmbedParameters<M> && detail::HasBlockParameters<M> &&
                     detail::HasReadoutParameters<M>;

/// The run state of credit source C on model M: what bind returns, or C itself if it has no bind.
template <class C, class M>
using CreditState = typename detail::StateOf<C, M>::type;

/// A credit rule: a copyable config whose `bind(model, const BindContext&) const` returns its run state. A source that
/// needs no state may leave bind out and is then its own state. The state has
///
///     std::vector<torch::Tensor> credit(Model& model, const Trace& trace)
///
/// which returns a_0..a_L, one per hidden state. It may be const.
///
/// - a_l stands for dloss_i/dh_l of each sample (not divided by B).
/// - It has the shape of h_l, (B, ...), or one value per channel, (B, C, 1, 1) or (B, 1, d), and the model's dtype and
///   device.
/// - a_0 is for the embed, and is not read if the model has no embed parameters.
/// - credit is called with grad mode off and leaves the model, the trace and, as far as another call can see, the state
///   as they were.
///
/// Optional members of the state:
/// - `void learn(Model&, const Trace&)`: trains nets of its own, with grad mode on, after credit and before the
///   parameter step.
/// - `void after_step(Model&, const Trace&)`: sees the applied update.
/// - `std::vector<torch::Tensor> local_inputs(Model&, const Trace&)`: h'_0..h'_L at which blocks and readout are run
///   again for the local step.
/// - `std::vector<FactoredCredit> factored_credit(Model&, const Trace&)`: the same credit for (B, d) hidden states, one
///   FactoredCredit per hidden state, which steps by formula use if it saves work.
/// - `std::vector<torch::Tensor> transport(Model&)`: for each of model->parameters(), the tensor that this step's
///   backward passes read in the parameter's place, undefined for the parameter itself. It has the parameter's sizes,
///   strides, dtype and device, and a storage of its own. Trace::loss_gradient and Trace::pullback, which it may then
///   call, go through these tensors, and so do the gradients inside blocks while the source has a weight. A parameter's
///   own gradient is as always.
/// - `NamedTensors named_tensors() const`: what a checkpoint keeps: the state's own tensors, counters included.
/// - `Reads reads() const`: what its credit is computed from (reads.hpp); the laws hold it to that.
/// - `static constexpr bool reads_error_only = true`: factored_credit reads nothing of the trace but `error`, `target` and
///   error_at().
/// - `static constexpr bool couples_samples = true`: a sample's credit depends on the rest of its batch, on purpose.
/// - `static constexpr bool data_parallel = true`: several processes, each with rows of its own, keep this state equal: what
///   it draws per sample is BindContext::sample_randn's, and what changes it is the same on all, by BindContext::mean for
///   example (docs/distributed.md).
/// - `static constexpr bool block_parallel = true`: the credit for h_l is computed, and what it is computed with is learned,
///   from h_l, f_{l-1}, the error and the target alone, the error only if reads() has it, and at h_L also loss_gradient().
///   Nothing is drawn in a step. Where
///   the trace's h_l is undefined, a_l is left undefined, and learn and after_step leave what belongs to h_l alone. So
///   blocks can be trained in different processes (distributed::BlockTrainer).
/// - `std::vector<torch::Tensor> tensors_of(std::int64_t l) const`: the tensors of its own that belong to h_l: with
///   block_parallel, processes that do not train h_l empty theirs, (0), and a checkpoint takes them from the one that does.
///   Those that belong to no hidden state are the same in all processes.
/// - `static constexpr bool wants_pullback = true` (also in the config): may call Trace::pullback.
/// - `static constexpr bool wants_pushforward = true` (also in the config): may call Trace::pushforward.
/// - `static constexpr bool graphable = true`: learn and after_step change nothing on the host that a later step needs and
///   draw nothing there, so that CUDA graphs can hold them.
///
/// Optional member of the config:
/// - `using Normalizer = Raw;`: the normalizer that the rule is defined with; otherwise RowRms (NaturalNormalizer).
template <class C, class M>
concept CreditSource = BlockModel<M> && std::copyable<C> && detail::GivesCredit<CreditState<C, M>, M>;

/// `torch::Tensor operator()(torch::Tensor a) const`: credit of the same shape. A step uses normalizer(a_l), each hidden
/// state's on its own.
///
/// Optional members:
/// - `FactoredCredit factored(const FactoredCredit& a) const`: the same for credit that is kept as factors.
template <class N>
concept Normalizer = std::copy_constructible<N> && detail::Normalizes<N>;

/// `torch::Tensor operator()(torch::Tensor f, torch::Tensor a) const`: a scalar, the batch mean, whose gradient in f
/// trains the block. a is detached and has the shape of f or broadcasts to it.
///
/// Optional members:
/// - `torch::Tensor output_gradient(torch::Tensor f, torch::Tensor a) const`: the closed form of the gradient in f (1/B
///   included, shape of f), used instead of a graph.
/// - `std::optional<double> multiple_of_credit(torch::IntArrayRef sizes) const`: the k for which that gradient is k a
///   for every f of these sizes, std::nullopt if there is none.
/// - `InnerProduct embed_loss() const`: the loss that the embed is trained with, otherwise InnerProduct{}.
template <class L>
concept LocalLoss = std::copy_constructible<L> && detail::GivesLocalLoss<L>;

/// What the network is trained for.
///
/// - `torch::Tensor loss(logits, target) const`: per sample, (B).
/// - `torch::Tensor error(logits, target) const`: dloss_i/dlogits, (B, C).
/// - `void check(logits, target) const`: throws Error for a target that does not fit. It is called before the forward
///   pass, with logits of the right shape and no meaning.
///
/// Optional members:
/// - `torch::Tensor correct(logits, target) const`: a scalar that counts the right samples; without it
///   StepResult::correct is 0.
/// - `torch::Tensor in_range(logits, target) const`: the target with the nearest value that loss can take in place of
///   each that it cannot, if check has not looked at the values because that would wait for their device; undefined if
///   it has. A step uses the result, and says later what was wrong (docs/cuda.md). It waits for nothing.
template <class O>
concept Objective =
    std::copy_constructible<O> && detail::GivesLoss<O> && detail::GivesError<O> && detail::ChecksTarget<O>;

/// `std::array<double, N> weights(const Progress&) const`: one weight per source, not all of them 0. If one source has a
/// weight other than 0, its credit is used as it is. If several have, the credit is the sum of weight times credit, each
/// normalized by its own RMS.
///
/// Optional members:
/// - `std::array<bool, N> learns(const Progress&) const`: which sources learn; without it those with a weight other than
///   0.
template <class S>
concept Schedule = std::copy_constructible<S> && detail::GivesWeights<S>;

/// How parameters are updated: a config whose `bind(std::vector<TrainedParameter>) const` returns the run state of an
/// optimizer over these parameters, in the order of distinct_parameters. The state has
///
/// - `void step()`: one update with each parameter's .grad(); one without a gradient is left unchanged.
/// - `void set_rate(double factor)`: from now on each parameter's rate is its `lr` times this factor. A trainer calls it
///   before a step when the factor has changed.
/// - `NamedTensors named_tensors() const`: what a checkpoint keeps: the state's own tensors; loading copies into them.
///
/// Optional members:
/// - `static constexpr bool graphable = true` of the state: step changes nothing on the host, so that CUDA graphs can
///   hold it.
///
/// A torch::optim::Optimizer over the model's parameters is one too, moved into the trainer or in a std::shared_ptr: its
/// groups keep their own rates, which a rate policy multiplies.
template <class O>
concept OptimizerPolicy = (std::copy_constructible<O> && detail::GivesOptimizer<O>) || detail::TorchOptimizer<O>;

/// The learning rate over a run: `double operator()(const Progress&) const`, a factor >= 0 on lr, asked before every
/// step. A rate with a state of its own is a config whose `bind() const` returns such a callable.
///
/// Optional members of the callable:
/// - `void report(double value)`: what trainer.report(value) calls.
/// - `NamedTensors named_tensors() const`: what a checkpoint keeps.
/// Of the config: `void check() const`, called first, throws Error for options that make no sense.
template <class R>
concept RatePolicy = std::copy_constructible<R> && (detail::GivesFactor<R> || detail::BindsRate<R>);

/// What is done to a step's gradients before the update:
/// `void operator()(std::vector<torch::Tensor>& gradients, const ParameterParts& parts) const` replaces entries of
/// `gradients`, which are in the order of distinct_parameters, undefined if there is none. It leaves the tensors
/// that they held as they were. Optional: `void check() const` throws Error for options that make no sense.
template <class C>
concept ClipPolicy = std::copy_constructible<C> && detail::ClipsGradients<C>;

}  // namespace creditlib
