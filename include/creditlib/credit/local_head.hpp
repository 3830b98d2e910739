// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>

#include <concepts>
#include <creditlib/concepts.hpp>
#include <creditlib/credit/head_input.hpp>
#include <memory>
#include <type_traits>
#include <utility>

namespace creditlib {

namespace detail {

template <class H>
concept MakesHeadModule = requires(const H& head, const HeadInput& input) {
  { head.module(input) } -> HoldsModule;
};

/// The module that a head makes.
template <class H>
struct HeadModule : std::type_identity<std::shared_ptr<torch::nn::Module>> {};
template <MakesHeadModule H>
struct HeadModule<H>
    : std::type_identity<
          std::remove_cvref_t<decltype(std::declval<const H&>().module(std::declval<const HeadInput&>()))>> {};

template <class H>
concept GivesHeadLoss =
    requires(const H& head, typename HeadModule<H>::type& module, const torch::Tensor& h, const Trace& trace) {
      { head.loss(module, h, trace) } -> GivesTensor;
    };

}  // namespace detail

/// What LocalHeads puts on each hidden state: a copyable config with
///
/// - `module(const HeadInput& input) const`: a module holder or std::shared_ptr to a torch::nn::Module, made for that
///   hidden state. What it draws from LibTorch's global generator is drawn from the trainer's instead.
/// - `torch::Tensor loss(Module& module, const torch::Tensor& h, const Trace& trace) const`: each sample's own loss,
///   (B), on the graph of h and of the module's parameters. `trace.loss(logits)` is the trainer's objective.
///
/// Optional members:
/// - `static constexpr bool couples_samples = true`: a sample's loss depends on the rest of its batch.
/// - `static constexpr bool data_parallel = true`: with couples_samples, loss compares the samples of all processes
///   (HeadInput::group, distributed::gather) and gives those of its own (distributed::own_losses), so that several
///   processes can train it.
/// - `static constexpr bool graphable = true`: loss changes and draws nothing on the host, so that CUDA graphs can hold it.
template <class H>
concept LocalHead = std::copyable<H> && detail::MakesHeadModule<H> && detail::GivesHeadLoss<H>;

}  // namespace creditlib
