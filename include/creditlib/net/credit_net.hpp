// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <cmath>
#include <creditlib/bind_context.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/expect.hpp>
#include <creditlib/error.hpp>
#include <creditlib/net/time_embedding.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace creditlib {

struct CreditNetOptions {
  std::int64_t state = 0;      ///< elements of a sample's hidden state
  std::int64_t condition = 0;  ///< elements of s: C if s is the error
  std::int64_t output = 0;     ///< elements of the output: `state` for credit, 1 for a value
  std::int64_t hidden = 256;   ///< width of the hidden layers
  std::int64_t layers = 3;     ///< number of hidden layers
  std::int64_t time = 32;      ///< elements of the embedding of t, an even number
};

class CreditNetImpl : public torch::nn::Module {
 public:
  CreditNetImpl(const CreditNetOptions& options, const BindContext& context)
      : CreditNetImpl(checked(options), torch::TensorOptions().dtype(context.dtype).device(context.device)) {
    const torch::NoGradGuard no_grad;
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      const double bound = 1 / std::sqrt(static_cast<double>(weights_[i].size(1)));
      weights_[i].copy_(context.uniform(weights_[i].sizes(), bound));
      biases_[i].copy_(context.uniform(biases_[i].sizes(), bound));
    }
  }

  const CreditNetOptions& options() const { return options_; }

  /// Maps h (B, ...), with `state` numbers per sample, the time t and s (B, condition) to (B, output).
  torch::Tensor forward(const torch::Tensor& h, double t, const torch::Tensor& s) const {
    const auto flat = h.flatten(1);
    if (flat.size(1) != options_.state || s.dim() != 2 || s.size(1) != options_.condition) {
      detail::fail("CreditNet: h is ", detail::shape_text(h.sizes()), " and s ", detail::shape_text(s.sizes()),
                   ", expected ", options_.state, " and ", options_.condition, " numbers per sample.");
    }
    const auto time = embedded_time(t, flat.options()).expand({flat.size(0), options_.time});
    auto z = torch::cat({at::layer_norm(flat, {options_.state}, scale_, shift_), time, s}, 1);
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      z = at::linear(i == 0 ? z : at::gelu(z), weights_[i], biases_[i]);
    }
    return z;
  }

  /// A copy with its own parameters, which take no gradients.
  std::shared_ptr<CreditNetImpl> frozen_copy() const {
    const std::shared_ptr<CreditNetImpl> copy(new CreditNetImpl(options_, scale_.options()));
    const torch::NoGradGuard no_grad;
    const auto from = parameters(), to = copy->parameters();
    for (std::size_t i = 0; i < to.size(); ++i) torch::Tensor(to[i]).copy_(from[i]).requires_grad_(false);
    return copy;
  }

 private:
  /// All parameters are 0, except for the LayerNorm's scale; nothing is drawn.
  CreditNetImpl(const CreditNetOptions& options, const torch::TensorOptions& tensor) : options_(options) {
    const auto ln = register_module("ln", std::make_shared<torch::nn::Module>("LayerNorm"));
    scale_ = ln->register_parameter("weight", torch::ones({options.state}, tensor));
    shift_ = ln->register_parameter("bias", torch::zeros({options.state}, tensor));
    const auto net = register_module("net", std::make_shared<torch::nn::Module>("Sequential"));
    std::int64_t in = options.state + options.time + options.condition;
    for (std::int64_t i = 0; i <= options.layers; ++i) {
      const std::int64_t out = i < options.layers ? options.hidden : options.output;
      // The odd indices belong to the GELUs.
      const auto layer = net->register_module(std::to_string(2 * i), std::make_shared<torch::nn::Module>("Linear"));
      weights_.push_back(layer->register_parameter("weight", torch::zeros({out, in}, tensor)));
      biases_.push_back(layer->register_parameter("bias", torch::zeros({out}, tensor)));
      in = out;
    }
  }

  /// A constant of t, computed once.
  torch::Tensor embedded_time(double t, const torch::TensorOptions& options) const {
    const std::lock_guard<std::mutex> lock(times_->mutex);
    auto& known = times_->of[t];
    if (!known.defined() || known.device() != options.device() || known.dtype() != options.dtype())
      known = time_embedding(t, options_.time, options);
    return known;
  }

  static CreditNetOptions checked(const CreditNetOptions& options) {
    namespace expect = detail::expect;
    expect::at_least("CreditNet", "state", options.state, 1);
    expect::at_least("CreditNet", "condition", options.condition, 1);
    expect::at_least("CreditNet", "output", options.output, 1);
    expect::at_least("CreditNet", "hidden", options.hidden, 1);
    expect::at_least("CreditNet", "layers", options.layers, 1);
    expect::that(options.time >= 2 && options.time % 2 == 0, "CreditNet", "time", options.time,
                 "an even number of at least 2: sines and cosines");
    return options;
  }

  struct Times {
    std::mutex mutex;
    std::map<double, torch::Tensor> of;
  };

  CreditNetOptions options_;
  std::shared_ptr<Times> times_ = std::make_shared<Times>();  ///< time embeddings by t
  torch::Tensor scale_, shift_;
  std::vector<torch::Tensor> weights_, biases_;
};

/// The net of the learned credit sources: maps a hidden state, its depth and the error to credit or a value.
///
///     z_0 = [LayerNorm(h), time_embedding(t), s],  z_{i+1} = GELU(W_i z_i + b_i),  output = W z + b
///
/// - Shapes: h is flattened, so hidden states may have any shape.
/// - Weights and biases start from U(-1/sqrt(in), 1/sqrt(in)), PyTorch's initialization of a Linear, but drawn from
///   `context`: LibTorch's global generator is left unchanged, and float32 and float64, CPU and CUDA start from the
///   same numbers.
/// - Parameters: ln.{weight,bias}, net.<2 i>.{weight,bias}, the names of a PyTorch LayerNorm `ln` and Sequential `net`.
/// - Cost: B (state + time + condition + (layers - 1) hidden + output) hidden multiplications.
/// - Throws Error for a size below 1 or an odd `time`, and in forward() for h or s of the wrong width.
class CreditNet : public torch::nn::ModuleHolder<CreditNetImpl> {
 public:
  using torch::nn::ModuleHolder<CreditNetImpl>::ModuleHolder;
  CreditNet(const CreditNetOptions& options, const BindContext& context)
      : ModuleHolder(std::make_shared<CreditNetImpl>(options, context)) {}
};

}  // namespace creditlib
