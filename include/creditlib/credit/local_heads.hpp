// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <creditlib/concepts.hpp>
#include <creditlib/credit/detail/drawn_from.hpp>
#include <creditlib/credit/detail/own_nets.hpp>
#include <creditlib/credit/detail/refuse_draws.hpp>
#include <creditlib/credit/head_input.hpp>
#include <creditlib/credit/local_head.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/error.hpp>
#include <creditlib/named_tensors.hpp>
#include <creditlib/network/shape.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/scope/untouched.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace creditlib {

/// Each hidden state has a head, a small net with a loss of its own; the credit is the gradient of that loss.
///
///     a_l = d/dh_l sum_b loss_b(head_l, h_l),    head_l trained on mean_b loss_b
///
/// - Shapes: a_l has the shape of h_l and the scale of the loss's gradient; the normalizer is Raw.
/// - Cost: one forward and one backward pass of each head, which give credit and the head's own gradients.
/// - Reads the hidden states and the target, and nothing of blocks and readout, except for `last_from_readout`.
/// - Heads are trained by AdamW at a constant rate, and are in train mode throughout; their buffers move once per step.
/// - Throws Error at bind for an invalid option, an empty head and a head with a layer that draws in train mode (Dropout,
///   RReLU, an LSTM with dropout), and at the first step for a loss that is not (B) or does not depend on h_l.
template <class Head>
struct LocalHeads {
  static_assert(detail::holds(detail::MakesHeadModule<Head>),
                "creditlib: a head needs `module(const creditlib::HeadInput& input) const`, which gives a torch::nn "
                "module holder or a std::shared_ptr to a torch::nn::Module");
  static_assert(detail::holds(!detail::MakesHeadModule<Head> || detail::GivesHeadLoss<Head>),
                "creditlib: a head needs `torch::Tensor loss(Module& module, const torch::Tensor& h, const "
                "creditlib::Trace& trace) const`, which gives each sample's own loss, (B)");
  static_assert(detail::holds(detail::DeclaresCoupling<Head> || !detail::names_couples_samples<Head>),
                "creditlib: couples_samples must be declared as `static constexpr bool couples_samples = true;`");
  static_assert(detail::holds(detail::DeclaresDataParallel<Head> || !detail::names_data_parallel<Head>),
                "creditlib: data_parallel must be declared as `static constexpr bool data_parallel = true;`");

  using Normalizer = Raw;

  Head head = {};
  double lr = 5e-4;  ///< learning rate of AdamW
  double weight_decay = 0;
  /// Trains the last block with the readout's own loss, a_L = dloss_i/dh_L, instead of a head on h_L.
  bool last_from_readout = false;

  struct State;

  template <class Model>
  State bind(Model& model, const BindContext& context) const;
};

template <class Head>
struct LocalHeads<Head>::State {
  using Module = typename detail::HeadModule<Head>::type;
  static constexpr bool couples_samples = detail::CouplesSamples<Head>;
  static constexpr bool graphable = detail::DeclaresGraphable<Head>;
  static constexpr bool data_parallel = !couples_samples || detail::IsDataParallel<Head>;
  static constexpr bool block_parallel = true;

  Head head;
  bool last_from_readout;
  std::size_t first;             ///< the hidden state of net 0
  detail::OwnNets<Module> nets;  ///< the heads of h_first..h_L, or ..h_{L-1} if last_from_readout

  State(const LocalHeads& config, const BindContext& context, std::size_t first_state, std::vector<Module> heads)
      : head(config.head),
        last_from_readout(config.last_from_readout),
        first(first_state),
        nets(std::move(heads), context, config.lr, /*clip=*/std::nullopt, config.weight_decay) {}

  template <class Model>
  std::vector<torch::Tensor> credit(Model&, const Trace& trace) const {
    found_ = differentiated(trace);
    std::vector<torch::Tensor> credits(trace.hidden.size());
    for (std::size_t i = 0; i < nets.size(); ++i) credits[first + i] = std::move(found_.at_states[i]);
    if (last_from_readout && trace.hidden.back().defined()) credits.back() = trace.loss_gradient();
    return credits;
  }

  /// The terms that learn() minimizes, one scalar per head; of the heads whose hidden state the trace has.
  template <class Model>
  std::vector<torch::Tensor> losses(Model&, const Trace& trace) const {
    const torch::AutoGradMode grad(true);
    const scope::RestoredTensors buffers(nets.buffers());
    std::vector<torch::Tensor> losses;
    for (const auto i : seen(trace)) losses.push_back(loss(i, trace.hidden[first + i], trace).mean());
    return losses;
  }

  template <class Model>
  void learn(Model&, const Trace& trace) {
    auto found =
        found_.pass.defined() && found_.pass.is_same(pass_of(trace)) ? std::move(found_) : differentiated(trace);
    found_ = {};
    nets.step(std::move(found.at_parameters), trace.error.size(0));
    nets.set_buffers(found.buffers);
  }

  /// Forgets what credit has found, which is of that step alone.
  template <class Model>
  void after_step(Model&, const Trace&) {
    found_ = {};
  }

  Reads reads() const {
    const auto own = Reads::Target | Reads::Hidden;
    return last_from_readout ? own | Reads::Error | Reads::Readout : own;
  }
  NamedTensors named_tensors() const { return prefixed("heads", nets.named_tensors()); }
  std::vector<torch::Tensor> tensors_of(std::int64_t l) const {
    const auto i = static_cast<std::size_t>(l) - first;  // far beyond the last if there is no head below
    return i < nets.size() ? nets.tensors_of(i) : std::vector<torch::Tensor>{};
  }

 private:
  /// What one pass through the heads gives.
  struct Found {
    torch::Tensor pass = {};                                        ///< the forward pass that it belongs to: pass_of
    std::vector<torch::Tensor> at_states = {}, at_parameters = {};  ///< gradients: of the losses' sum, of their mean
    std::vector<torch::Tensor> buffers = {};                        ///< as the pass leaves them
  };

  /// The heads whose hidden state the trace has: all, except where others are other processes'.
  std::vector<std::size_t> seen(const Trace& trace) const {
    std::vector<std::size_t> heads;
    for (std::size_t i = 0; i < nets.size(); ++i) {
      if (trace.hidden[first + i].defined()) heads.push_back(i);
    }
    return heads;
  }
  /// What tells a forward pass from others: its last hidden state.
  static torch::Tensor pass_of(const Trace& trace) {
    const auto last = std::ranges::find_if(trace.hidden.rbegin(), trace.hidden.rend(), &torch::Tensor::defined);
    return last == trace.hidden.rend() ? torch::Tensor() : *last;
  }

  /// Changes nothing.
  Found differentiated(const Trace& trace) const {
    const torch::AutoGradMode grad(true);
    const auto buffers = nets.buffers();
    const scope::RestoredTensors as_before(buffers);
    Found found{.pass = pass_of(trace),
                .at_states = std::vector<torch::Tensor>(nets.size()),
                .at_parameters = std::vector<torch::Tensor>(nets.parameters().size())};
    const auto heads = seen(trace);
    std::vector<torch::Tensor> losses, wanted;
    for (const auto i : heads) {
      wanted.push_back(trace.hidden[first + i].detach().requires_grad_());
      losses.push_back(loss(i, wanted.back(), trace).sum());
    }
    if (!losses.empty()) {
      wanted.insert(wanted.end(), nets.parameters().begin(), nets.parameters().end());
      auto gradients = torch::autograd::grad(losses, wanted, {}, /*retain_graph=*/false, /*create_graph=*/false,
                                             /*allow_unused=*/true);
      const torch::NoGradGuard no_grad;
      for (std::size_t i = 0; i < heads.size(); ++i) {
        if (!gradients[i].defined()) detail::fail(name(heads[i]), " does not depend on that hidden state.");
        found.at_states[heads[i]] = gradients[i];
      }
      const auto samples = static_cast<double>(found.pass.size(0));
      for (std::size_t i = 0; i < found.at_parameters.size(); ++i) {
        if (const auto& gradient = gradients[heads.size() + i]; gradient.defined()) {
          found.at_parameters[i] = gradient / samples;
        }
      }
    }
    for (const auto& buffer : buffers) found.buffers.push_back(buffer.clone());
    return found;
  }

  /// Head i's loss at h, (B).
  torch::Tensor loss(std::size_t i, const torch::Tensor& h, const Trace& trace) const {
    Module module = nets[i];
    torch::Tensor loss = head.loss(module, h, trace);
    if (!loss.defined() || loss.sizes() != torch::IntArrayRef({h.size(0)})) {
      detail::fail(name(i), " is ", detail::tensor_text(loss), ", expected (", h.size(0), "): each sample's own.");
    }
    if (!loss.requires_grad()) detail::fail(name(i), " has no graph; compute it with grad mode on, without detach().");
    return loss;
  }

  std::string name(std::size_t i) const { return "LocalHeads: the loss of the head on h_" + std::to_string(first + i); }

  mutable Found found_ = {};
};

template <class Head>
template <class Model>
typename LocalHeads<Head>::State LocalHeads<Head>::bind(Model& model, const BindContext& context) const {
  detail::expect::not_negative("LocalHeads", "lr", lr);
  detail::expect::not_negative("LocalHeads", "weight_decay", weight_decay);
  const std::size_t first = has_embed(model) ? 0 : 1;
  const auto blocks = static_cast<std::size_t>(model->blocks());
  std::vector<typename State::Module> heads;
  for (std::size_t l = first; l < (last_from_readout ? blocks : blocks + 1); ++l) {
    const auto input = detail::head_input(model, l, context);
    heads.push_back(detail::drawn_from(context.generator, [&] { return head.module(input); }));
    const auto whose = "LocalHeads: the head on h_" + std::to_string(l);
    if (!heads.back()) detail::fail(whose, " is an empty module; module(input) must make one.");
    detail::refuse_draws(whose, *heads.back(), "its loss would be another function each time it is asked");
    heads.back()->to(context.device, context.dtype);
  }
  return State(*this, context, first, std::move(heads));
}

}  // namespace creditlib
