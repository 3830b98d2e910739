// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <creditlib/closed_form/network.hpp>
#include <creditlib/detail/stacked.hpp>
#include <creditlib/network/detail/gradient_ready.hpp>
#include <creditlib/trainer_options.hpp>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace creditlib::detail {

/// The gradients of parameters that a backward pass has found.
class FoundGradients {
 public:
  explicit FoundGradients(const GradientReady& ready) : ready_(ready) {}

  /// One for each parameter that is `wanted`, of gradients (n, ...), as a tensor that is no view.
  void put(const std::vector<torch::Tensor>& wanted, const torch::Tensor& gradients) {
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (!wanted[i].requires_grad()) continue;
      auto& found = found_[wanted[i].unsafeGetTensorImpl()];
      found = gradients[static_cast<std::int64_t>(i)].variable_data();
      if (ready_) ready_(wanted[i], found);
    }
  }
  /// In the order of `parameters`; undefined for those that have none.
  std::vector<torch::Tensor> gradients(const std::vector<torch::Tensor>& parameters) const {
    std::vector<torch::Tensor> all;
    for (const auto& parameter : parameters) {
      const auto found = found_.find(parameter.unsafeGetTensorImpl());
      all.push_back(found == found_.end() ? torch::Tensor() : found->second);
    }
    return all;
  }

 private:
  const GradientReady& ready_;
  std::unordered_map<const void*, torch::Tensor> found_;
};

/// Stages of the same layers and shapes by formula, on a device, where the number of kernels counts: forward one after the
/// other, as each hidden state follows from the last; backward all at once, with n stages as products over (n, B, d).
///
///     linear       dW = g^T x,  db = sum_b g,  dx = g W
///     layer norm   dweight = sum_b g z,  dbias = sum_b g,  z the normalized x
///
/// What stages write lies in memory one after another, so that it is not copied to be stacked. Weights are: they are the
/// modules' own. ClosedFormStage computes the same on the CPU.
class StackedStages {
 public:
  /// Those from `first` on.
  struct Some {
    std::size_t first = 0, count = 1;
  };

  StackedStages(std::vector<closed_form::Stage> stages, MatmulPrecision precision)
      : stages_(std::move(stages)),
        rounds_(precision == MatmulPrecision::BFloat16),
        layers_(stages_.front().size(), Layer(stages_.size())) {}

  /// Whether two stages differ in the numbers of their parameters alone.
  static bool alike(const closed_form::Stage& a, const closed_form::Stage& b) {
    return std::ranges::equal(a, b, [](const closed_form::Layer& x, const closed_form::Layer& y) {
      return x.index() == y.index() && std::visit([](const auto& p, const auto& q) { return same(p, q); }, x, y);
    });
  }

  Some all() const { return {0, stages_.size()}; }
  bool empty() const { return layers_.empty(); }
  /// The width of the outputs of inputs of this width.
  std::int64_t outputs(std::int64_t inputs) const {
    for (const auto& layer : stages_.front()) {
      if (const auto* linear = std::get_if<closed_form::Linear>(&layer)) inputs = linear->weight.size(0);
    }
    return inputs;
  }

  /// (B, in) to (B, out), by stage i; the stages are run in their order. The output is in `out`, (B, out), if that takes
  /// no copy.
  torch::Tensor forward(std::size_t i, torch::Tensor x, const torch::Tensor& out = {}) {
    for (std::size_t k = 0; k < layers_.size(); ++k) {
      layers_[k].input[i] = x;
      const auto to = k + 1 == layers_.size() ? out : torch::Tensor();
      x = std::visit([&](const auto& layer) { return forward(layer, layers_[k], i, x, to); }, stages_[i][k]);
      layers_[k].output[i] = x;
    }
    return x;
  }

  /// From the gradients g, (count, B, out), in the outputs of some stages: those in their inputs, if `input_too`, and,
  /// if `found` is given, those of their parameters that are trained.
  torch::Tensor backward(Some some, torch::Tensor g, bool input_too, FoundGradients* found) {
    const auto lowest = input_too ? 0 : lowest_trained(some, found);
    for (std::size_t k = layers_.size(); k-- > lowest;) {
      const bool below = k > lowest || input_too;
      g = std::visit([&](const auto& layer) { return backward(layer, k, some, g, below, found); },
                     stages_[some.first][k]);
    }
    return g;
  }

  /// What a change v of stage i's input does to its output, to first order.
  torch::Tensor push(std::size_t i, torch::Tensor v) const {
    for (std::size_t k = 0; k < layers_.size(); ++k) {
      v = std::visit([&](const auto& layer) { return push(layer, layers_[k], i, v); }, stages_[i][k]);
    }
    return v;
  }

 private:
  /// What forward keeps of a layer, of each stage.
  struct Layer {
    explicit Layer(std::size_t stages)
        : input(stages), output(stages), x(stages), w(stages), mean(stages), rstd(stages) {}

    std::vector<torch::Tensor> input, output;
    std::vector<torch::Tensor> x, w;  ///< a linear layer's input and weight in the precision of products
    std::vector<torch::Tensor> mean, rstd;
    torch::Tensor room;  ///< for the outputs of all, (n, B, out)
  };

  // ---- Which layers are alike ----

  static bool same_shape(const torch::Tensor& a, const torch::Tensor& b) {
    return a.defined() == b.defined() && (!a.defined() || a.sizes() == b.sizes());
  }
  template <class A, class B>
  static bool same(const A&, const B&) {
    return true;
  }
  static bool same(const closed_form::Linear& a, const closed_form::Linear& b) {
    return same_shape(a.weight, b.weight) && same_shape(a.bias, b.bias);
  }
  static bool same(const closed_form::LayerNorm& a, const closed_form::LayerNorm& b) {
    return same_shape(a.weight, b.weight) && a.eps == b.eps;
  }

  // ---- Of some stages ----

  static torch::Tensor stack_of(const std::vector<torch::Tensor>& each, Some some) {
    const auto begin = each.begin() + static_cast<std::ptrdiff_t>(some.first);
    return stacked({begin, begin + static_cast<std::ptrdiff_t>(some.count)});
  }
  /// A parameter of layer k.
  template <class LayerType>
  std::vector<torch::Tensor> each(torch::Tensor LayerType::*parameter, std::size_t k, Some some) const {
    std::vector<torch::Tensor> found;
    for (auto i = some.first; i < some.first + some.count; ++i) {
      const auto& one = std::get<LayerType>(stages_[i][k]).*parameter;
      if (one.defined()) found.push_back(one);
    }
    return found;
  }
  static bool trained(const std::vector<torch::Tensor>& parameters, const FoundGradients* found) {
    return found != nullptr && std::ranges::any_of(parameters, [](const auto& one) { return one.requires_grad(); });
  }

  std::size_t lowest_trained(Some some, const FoundGradients* found) const {
    const auto is_trained = [&]<class LayerType>(const LayerType&, std::size_t k) {
      if constexpr (requires(LayerType layer) { layer.weight; }) {
        return trained(each(&LayerType::weight, k, some), found) || trained(each(&LayerType::bias, k, some), found);
      } else {
        return false;
      }
    };
    for (std::size_t k = 0; k < layers_.size(); ++k) {
      if (std::visit([&](const auto& layer) { return is_trained(layer, k); }, stages_[some.first][k])) return k;
    }
    return layers_.size();
  }

  // ---- Products ----

  torch::Tensor operand(const torch::Tensor& t) const { return rounds_ ? t.to(torch::kBFloat16) : t; }

  /// a b of operands, (n, ...), in the dtype of `like`.
  static torch::Tensor product(const torch::Tensor& a, const torch::Tensor& b, const torch::Tensor& like) {
    return at::bmm(a, b).to(like.scalar_type());
  }

  // ---- Forward ----

  /// Where stage i writes numbers (B, width).
  static torch::Tensor place(Layer& kept, std::size_t i, const torch::Tensor& x, std::int64_t width,
                             const torch::Tensor& out) {
    if (out.defined()) return out;
    const auto n = static_cast<std::int64_t>(kept.output.size());
    if (i == 0) kept.room = at::empty({n, x.size(0), width}, x.options());
    return kept.room[static_cast<std::int64_t>(i)];
  }

  torch::Tensor forward(const closed_form::Linear& layer, Layer& kept, std::size_t i, const torch::Tensor& input,
                        const torch::Tensor& out) const {
    auto y = place(kept, i, input, layer.weight.size(0), out);
    kept.x[i] = operand(input);
    kept.w[i] = operand(layer.weight.detach());
    const auto transposed = kept.w[i].t();
    if (rounds_) {
      y.copy_(at::mm(kept.x[i], transposed));
      if (layer.bias.defined()) y.add_(layer.bias);
    } else if (layer.bias.defined()) {
      at::addmm_out(y, layer.bias, input, transposed);
    } else {
      at::mm_out(y, input, transposed);
    }
    return y;
  }
  static torch::Tensor forward(const closed_form::LayerNorm& layer, Layer& kept, std::size_t i, const torch::Tensor& x,
                               const torch::Tensor&) {
    auto [y, mean, rstd] = at::native_layer_norm(x, {x.size(1)}, layer.weight, layer.bias, layer.eps);
    kept.mean[i] = std::move(mean);
    kept.rstd[i] = std::move(rstd);
    return std::move(y);
  }
  static torch::Tensor forward(const closed_form::GELU&, Layer& kept, std::size_t i, const torch::Tensor& x,
                               const torch::Tensor& out) {
    auto y = place(kept, i, x, x.size(1), out);
    return at::gelu_out(y, x);
  }
  static torch::Tensor forward(const closed_form::ReLU&, Layer& kept, std::size_t i, const torch::Tensor& x,
                               const torch::Tensor& out) {
    auto y = place(kept, i, x, x.size(1), out);
    return at::clamp_min_out(y, x, 0);
  }
  static torch::Tensor forward(const closed_form::Tanh&, Layer& kept, std::size_t i, const torch::Tensor& x,
                               const torch::Tensor& out) {
    auto y = place(kept, i, x, x.size(1), out);
    return at::tanh_out(y, x);
  }

  // ---- Backward ----

  torch::Tensor backward(const closed_form::Linear&, std::size_t k, Some some, const torch::Tensor& g, bool below,
                         FoundGradients* found) const {
    const auto weights = each(&closed_form::Linear::weight, k, some),
               biases = each(&closed_form::Linear::bias, k, some);
    const auto of_g = operand(g);
    if (trained(weights, found)) {
      found->put(weights, product(of_g.transpose(1, 2), stack_of(layers_[k].x, some), g));
    }
    if (trained(biases, found)) found->put(biases, g.sum(1));
    return below ? product(of_g, stack_of(layers_[k].w, some), g) : torch::Tensor();
  }

  torch::Tensor backward(const closed_form::LayerNorm& layer, std::size_t k, Some some, const torch::Tensor& g,
                         bool below, FoundGradients* found) const {
    const auto& kept = layers_[k];
    const auto gains = each(&closed_form::LayerNorm::weight, k, some);
    const auto shifts = each(&closed_form::LayerNorm::bias, k, some);
    const bool of_gain = trained(gains, found), of_shift = trained(shifts, found);
    const auto i = some.first;
    const std::int64_t width = g.size(2);
    if (some.count == 1) {
      const auto [to_input, to_gain, to_shift] =
          at::native_layer_norm_backward(g[0], kept.input[i], {width}, kept.mean[i], kept.rstd[i], layer.weight,
                                         layer.bias, {below, of_gain, of_shift});
      if (of_gain) found->put(gains, to_gain.unsqueeze(0));
      if (of_shift) found->put(shifts, to_shift.unsqueeze(0));
      return below ? to_input.unsqueeze(0) : torch::Tensor();
    }
    const auto x = stack_of(kept.input, some);
    const auto [normal, mean, rstd] = at::native_layer_norm(x, {width}, {}, {}, layer.eps);
    if (of_gain) found->put(gains, (g * normal).sum(1));
    if (of_shift) found->put(shifts, g.sum(1));
    if (!below) return {};
    const auto weighted = gains.empty() ? g : g * stacked(gains).unsqueeze(1);
    return pulled(weighted, x, mean, rstd);
  }
  /// Through a layer norm without a weight.
  static torch::Tensor pulled(const torch::Tensor& g, const torch::Tensor& x, const torch::Tensor& mean,
                              const torch::Tensor& rstd) {
    return std::get<0>(
        at::native_layer_norm_backward(g, x, {x.size(-1)}, mean, rstd, {}, {}, std::array{true, false, false}));
  }

  torch::Tensor backward(const closed_form::GELU&, std::size_t k, Some some, const torch::Tensor& g, bool below,
                         FoundGradients*) const {
    return below ? at::gelu_backward(g, stack_of(layers_[k].input, some)) : torch::Tensor();
  }
  torch::Tensor backward(const closed_form::ReLU&, std::size_t k, Some some, const torch::Tensor& g, bool below,
                         FoundGradients*) const {
    return below ? at::threshold_backward(g, stack_of(layers_[k].output, some), 0) : torch::Tensor();
  }
  torch::Tensor backward(const closed_form::Tanh&, std::size_t k, Some some, const torch::Tensor& g, bool below,
                         FoundGradients*) const {
    return below ? at::tanh_backward(g, stack_of(layers_[k].output, some)) : torch::Tensor();
  }

  // ---- A change of the input ----

  torch::Tensor push(const closed_form::Linear&, const Layer& kept, std::size_t i, const torch::Tensor& v) const {
    return at::mm(operand(v), kept.w[i].t()).to(v.scalar_type());
  }
  static torch::Tensor push(const closed_form::LayerNorm& layer, const Layer& kept, std::size_t i,
                            const torch::Tensor& v) {
    auto pushed = pulled(v, kept.input[i], kept.mean[i], kept.rstd[i]);  // symmetric but for the weight
    return layer.weight.defined() ? pushed.mul_(layer.weight) : pushed;
  }
  static torch::Tensor push(const closed_form::GELU&, const Layer& kept, std::size_t i, const torch::Tensor& v) {
    return at::gelu_backward(v, kept.input[i]);
  }
  static torch::Tensor push(const closed_form::ReLU&, const Layer& kept, std::size_t i, const torch::Tensor& v) {
    return at::threshold_backward(v, kept.output[i], 0);
  }
  static torch::Tensor push(const closed_form::Tanh&, const Layer& kept, std::size_t i, const torch::Tensor& v) {
    return at::tanh_backward(v, kept.output[i]);
  }

  std::vector<closed_form::Stage> stages_;
  bool rounds_;                ///< whether large products are in bfloat16
  std::vector<Layer> layers_;  ///< of each layer, what forward keeps
};

}  // namespace creditlib::detail
