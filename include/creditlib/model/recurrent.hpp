// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/modules/rnn.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <creditlib/detail/describe.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <ostream>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace creditlib {

/// What a recurrent layer gives to the layer after it.
enum class RecurrentOutput {
  AllSteps,  ///< its output at every step, (B, N, d)
  LastStep,  ///< its state after the whole sequence, (B, d)
};

class RecurrentImpl : public torch::nn::Cloneable<RecurrentImpl> {
 public:
  explicit RecurrentImpl(const torch::nn::LSTM& layer, RecurrentOutput output = RecurrentOutput::AllSteps)
      : output_(output) {
    hold(checked(layer));
  }
  explicit RecurrentImpl(const torch::nn::GRU& layer, RecurrentOutput output = RecurrentOutput::AllSteps)
      : output_(output) {
    hold(checked(layer));
  }
  explicit RecurrentImpl(const torch::nn::RNN& layer, RecurrentOutput output = RecurrentOutput::AllSteps)
      : output_(output) {
    hold(checked(layer));
  }

  torch::Tensor forward(const torch::Tensor& x) {
    return std::visit(
        [&](auto& layer) {
          const auto& options = layer->options;
          if (x.dim() != 3 || x.size(2) != options.input_size()) {
            detail::fail("Recurrent: the input is ", detail::shape_text(x.sizes()), ", expected (samples, steps, ",
                         options.input_size(), ") for the ", name_of(layer), " layer.");
          }
          const auto [steps, state] = layer->forward(x);
          if (output_ == RecurrentOutput::AllSteps) return steps;
          // (layers * directions, B, d): those of the last layer, side by side.
          const std::int64_t directions = options.bidirectional() ? 2 : 1;
          const auto& h = hidden_of(state);
          return h.narrow(0, h.size(0) - directions, directions).transpose(0, 1).flatten(1);
        },
        layer_);
  }

  /// The same layers with new weights: what torch::nn::Cloneable asks for.
  void reset() override {
    const auto old = layer_;
    std::visit([&](const auto& layer) { hold(std::decay_t<decltype(layer)>(layer->options)); }, old);
  }

  void pretty_print(std::ostream& stream) const override {
    stream << "creditlib::Recurrent(output=" << (output_ == RecurrentOutput::AllSteps ? "all steps" : "last step")
           << ")";
  }

 private:
  static const char* name_of(const torch::nn::LSTM&) { return "lstm"; }
  static const char* name_of(const torch::nn::GRU&) { return "gru"; }
  static const char* name_of(const torch::nn::RNN&) { return "rnn"; }

  static const torch::Tensor& hidden_of(const torch::Tensor& h) { return h; }
  static const torch::Tensor& hidden_of(const std::tuple<torch::Tensor, torch::Tensor>& h_and_c) {
    return std::get<0>(h_and_c);
  }

  template <class Layer>
  static const Layer& checked(const Layer& layer) {
    if (layer.is_empty()) detail::fail("Recurrent: the ", name_of(layer), " layer is null, expected one.");
    if (!layer->options.batch_first()) {
      detail::fail("Recurrent: the ", name_of(layer),
                   " layer reads (steps, samples, features), but samples are in dimension 0; make it with "
                   ".batch_first(true) in its options.");
    }
    return layer;
  }
  template <class Layer>
  void hold(const Layer& layer) {
    layer_.template emplace<Layer>(layer);
    register_module(name_of(layer), layer);
  }

  std::variant<torch::nn::LSTM, torch::nn::GRU, torch::nn::RNN> layer_ = torch::nn::LSTM(nullptr);
  RecurrentOutput output_;
};

/// A recurrent layer of LibTorch as a layer of a stage, (B, N, input) to (B, N, d), or to (B, d) with
/// RecurrentOutput::LastStep.
///
///     creditlib::Recurrent(torch::nn::LSTM(torch::nn::LSTMOptions(8, 32).batch_first(true)))
///     creditlib::Recurrent(torch::nn::GRU(torch::nn::GRUOptions(8, 32).batch_first(true)),
///                          creditlib::RecurrentOutput::LastStep)
///
/// - The layer is a torch::nn::LSTM, GRU or RNN with all of its options, and is shared. Its state is 0 before each
///   sequence.
/// - d is hidden_size, or proj_size if the layer has one; twice that if it is bidirectional. The last step is then the
///   end of each direction: the forward one after step N, the backward one after step 1.
/// - Parameters: lstm.*, gru.* or rnn.*, with the layer's own names.
/// - Throws Error if the layer does not have batch_first, or is null, and for an input of another shape.
TORCH_MODULE(Recurrent);

}  // namespace creditlib
