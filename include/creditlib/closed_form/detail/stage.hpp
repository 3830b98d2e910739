// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/closed_form/detail/buffer.hpp>
#include <creditlib/closed_form/detail/row_kernels.hpp>
#include <creditlib/closed_form/network.hpp>
#include <creditlib/pass/output_gradients.hpp>
#include <creditlib/trainer_options.hpp>
#include <unordered_map>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// The buffers that closed-form gradients of parameters are written to, one per parameter. Without parameters nothing
/// is written.
class GradientBuffers {
 public:
  explicit GradientBuffers(const std::vector<torch::Tensor>& parameters) {
    for (const auto& parameter : parameters) slots_.emplace(parameter.unsafeGetTensorImpl(), Slot{parameter, {}, {}});
  }

  /// Resets: no parameter has a gradient.
  void clear() {
    for (auto& [key, slot] : slots_) {
      slot.gradient.reset();
      // If the parameter's grad is still this buffer, drop it, so that the buffer can be overwritten.
      if (slot.parameter.grad().defined() && slot.parameter.grad().is_same(slot.buffer.tensor()))
        slot.parameter.mutable_grad().reset();
    }
  }

  bool wants(const torch::Tensor& parameter) const {
    return !slots_.empty() && parameter.defined() && parameter.requires_grad();
  }

  /// The buffer for a trainable parameter's gradient.
  torch::Tensor& buffer_for(const torch::Tensor& parameter) {
    auto& slot = slots_.at(parameter.unsafeGetTensorImpl());
    slot.gradient = slot.buffer.get(parameter.sizes(), parameter.options());
    return slot.gradient;
  }

  /// The gradients written since clear(), in the order of `parameters`; undefined for the others.
  std::vector<torch::Tensor> gradients(const std::vector<torch::Tensor>& parameters) {
    std::vector<torch::Tensor> all;
    all.reserve(parameters.size());
    for (const auto& parameter : parameters)
      all.push_back(std::move(slots_.at(parameter.unsafeGetTensorImpl()).gradient));
    return all;
  }

 private:
  struct Slot {
    torch::Tensor parameter;
    Buffer buffer;
    torch::Tensor gradient;
  };
  std::unordered_map<const void*, Slot> slots_;
};

/// Runs a stage forward and backward by formula, in its own buffers. With B samples:
///
///     linear       dW = g^T x,  db = sum_b g,  dx = g W;    with g = left right^T of low rank
///                  dW = right (left^T x),  db = right (sum_b left),  dx = left (right^T W)
///     layer norm   dx = rstd (v - mean(v) - z mean(v z)),  v = g * weight,  z the normalized x;
///                  dweight = sum_b g z,  dbias = sum_b g;
///                  below a linear layer and if no dx is needed, without a separate product: with G = g^T z
///                  dW = G * weight + db bias^T,  dweight = sum_rows W * G,  dbias = W^T db
class ClosedFormStage {
 public:
  ClosedFormStage(closed_form::Stage stage, MatmulPrecision precision)
      : stage_(std::move(stage)), rounds_(precision == MatmulPrecision::BFloat16), work_(stage_.size()) {}

  bool empty() const { return stage_.empty(); }

  /// Replaces the layers and keeps the buffers.
  void assign(closed_form::Stage stage) {
    reset();
    stage_ = std::move(stage);
    work_.resize(stage_.size());
  }

  /// Maps (B, in) to (B, out).
  torch::Tensor forward(torch::Tensor x) {
    for (std::size_t i = 0; i < stage_.size(); ++i) {
      work_[i].input = x;
      x = std::visit([&](const auto& layer) { return forward(layer, work_[i]); }, stage_[i]);
      work_[i].output = x;
    }
    return x;
  }

  /// Releases what forward() kept; the buffers remain.
  void reset() {
    for (auto& work : work_) {
      for (auto* kept : {&work.input, &work.output, &work.normal, &work.slope, &work.x, &work.w}) kept->reset();
    }
  }

  /// The gradient in the stage's input from the gradient in its output, without parameter gradients.
  torch::Tensor pullback(const torch::Tensor& g) {
    const torch::NoGradGuard no_grad;
    GradientBuffers none({});
    return backward({g, {}}, /*input_too=*/true, none);
  }

  /// From the gradient g in the stage's output, writes the gradients of its trainable parameters and returns the
  /// gradient in its input if `input_too`. Does nothing if g is undefined.
  torch::Tensor backward(OutputGradient g, bool input_too, GradientBuffers& gradients) {
    if (!g.defined()) return {};
    if (g.factors.scale.defined()) g.factors = unscaled(g.factors);
    const std::size_t lowest = input_too ? 0 : lowest_trainable(gradients);
    for (std::size_t i = stage_.size(); i-- > lowest;) {
      if (!input_too && i == lowest + 1 && is_linear_on_layer_norm(i, gradients)) {
        backward_through_both(i, g, gradients);
        return {};
      }
      const bool below = i > lowest || input_too;
      const auto through = [&](const auto& layer) { return backward(layer, work_[i], g, below, gradients); };
      g = {std::visit(through, stage_[i]), {}};
    }
    return g.dense;
  }

 private:
  struct Work {
    torch::Tensor input, output, normal, slope;  ///< of the present pass; they live in the buffers below
    torch::Tensor x, w;                          ///< input and weight in the precision of products
    Buffer outputs, normals, slopes, scale, dense, pulled, thin, product, xs, ws, gs, zs, rounded;
  };

  // ---- Products ----

  /// A matrix in the precision of large products: itself, or rounded to bfloat16.
  torch::Tensor operand(const torch::Tensor& matrix, Buffer& buffer) const {
    if (!rounds_) return matrix;
    return buffer.get(matrix.sizes(), matrix.options().dtype(torch::kBFloat16)).copy_(matrix);
  }

  /// out = a b, for operands.
  static torch::Tensor& multiply(torch::Tensor& out, const torch::Tensor& a, const torch::Tensor& b, Buffer& buffer) {
    if (a.scalar_type() == out.scalar_type()) return at::mm_out(out, a, b);
    auto rounded = buffer.get(out.sizes(), a.options());
    return out.copy_(at::mm_out(rounded, a, b));
  }

  // ---- Forward ----

  torch::Tensor forward(const closed_form::Linear& layer, Work& work) {
    auto out = work.outputs.get({work.input.size(0), layer.weight.size(0)}, work.input.options());
    work.x = operand(work.input, work.xs);
    work.w = operand(layer.weight, work.ws);
    if (layer.bias.defined() && !rounds_) return at::addmm_out(out, layer.bias, work.x, work.w.t());
    multiply(out, work.x, work.w.t(), work.rounded);
    return layer.bias.defined() ? out.add_(layer.bias) : out;
  }
  torch::Tensor forward(const closed_form::LayerNorm& layer, Work& work) {
    work.normal = work.normals.like(work.input);
    auto rstd = work.scale.get({work.input.size(0)}, work.input.options());
    auto out = layer.weight.defined() ? work.outputs.like(work.input) : work.normal;
    layer_norm_into(work.input, layer.weight, layer.bias, layer.eps, work.normal, rstd, out);
    return out;
  }
  torch::Tensor forward(const closed_form::GELU&, Work& work) {
    work.slope = work.slopes.like(work.input);
    auto out = work.outputs.like(work.input);
    gelu_into(work.input, out, work.slope);
    return out;
  }
  torch::Tensor forward(const closed_form::ReLU&, Work& work) {
    auto out = work.outputs.like(work.input);
    return at::clamp_min_out(out, work.input, 0);
  }
  torch::Tensor forward(const closed_form::Tanh&, Work& work) {
    auto out = work.outputs.like(work.input);
    return at::tanh_out(out, work.input);
  }

  // ---- Backward ----

  /// The same credit with its scale multiplied into the left factor.
  FactoredCredit unscaled(const FactoredCredit& a) {
    auto left = scaled_.like(a.left);
    return {at::mul_out(left, a.left, a.scale), a.right};
  }

  static torch::Tensor multiplied_out(const OutputGradient& g, Work& work) {
    if (g.dense.defined()) return g.dense.contiguous();
    auto dense = work.dense.get({g.factors.left.size(0), g.factors.right.size(0)}, g.factors.left.options());
    return at::mm_out(dense, g.factors.left, g.factors.right.t());
  }

  static OutputGradient in_best_form(const OutputGradient& g, Work& work) {
    if (g.factors.defined() && g.factors.saves_work()) return g;
    return {multiplied_out(g, work), {}};
  }

  /// (out, in) = g^T x; x is an operand.
  void product_with(const torch::Tensor& x, const OutputGradient& g, Work& work, torch::Tensor& out) const {
    if (g.dense.defined()) {
      multiply(out, operand(g.dense, work.gs).t(), x, work.rounded);
      return;
    }
    auto thin = work.thin.get({g.factors.left.size(1), x.size(1)}, g.factors.left.options());
    multiply(thin, operand(g.factors.left, work.gs).t(), x, work.rounded);
    at::mm_out(out, g.factors.right, thin);
  }

  /// (out) = sum_b g.
  static void sum_over_batch(const OutputGradient& g, torch::Tensor& out) {
    if (g.dense.defined()) {
      at::sum_out(out, g.dense, 0);
    } else {
      at::mv_out(out, g.factors.right, g.factors.left.sum(0));
    }
  }

  torch::Tensor backward(const closed_form::Linear& layer, Work& work, const OutputGradient& given, bool below,
                         GradientBuffers& gradients) {
    const auto g = in_best_form(given, work);
    if (gradients.wants(layer.weight)) product_with(work.x, g, work, gradients.buffer_for(layer.weight));
    if (gradients.wants(layer.bias)) sum_over_batch(g, gradients.buffer_for(layer.bias));
    if (!below) return {};
    auto pulled = work.pulled.like(work.input);
    if (g.dense.defined()) return multiply(pulled, operand(g.dense, work.gs), work.w, work.rounded);
    auto thin = work.thin.get({g.factors.right.size(1), work.input.size(1)}, work.input.options());
    at::mm_out(thin, g.factors.right.t(), layer.weight);
    return at::mm_out(pulled, g.factors.left, thin);
  }

  torch::Tensor backward(const closed_form::LayerNorm& layer, Work& work, const OutputGradient& given, bool below,
                         GradientBuffers& gradients) {
    const auto g = multiplied_out(given, work);
    if (gradients.wants(layer.bias)) at::sum_out(gradients.buffer_for(layer.bias), g, 0);
    if (gradients.wants(layer.weight)) {
      auto product = work.product.like(g);
      at::sum_out(gradients.buffer_for(layer.weight), at::mul_out(product, g, work.normal), 0);
    }
    if (!below) return {};
    auto pulled = work.pulled.like(g);
    layer_norm_pullback_into(g, layer.weight, work.normal, work.scale.tensor(), pulled);
    return pulled;
  }
  torch::Tensor backward(const closed_form::GELU&, Work& work, const OutputGradient& given, bool, GradientBuffers&) {
    const auto g = multiplied_out(given, work);
    auto pulled = work.pulled.like(g);
    return at::mul_out(pulled, g, work.slope);
  }
  torch::Tensor backward(const closed_form::ReLU&, Work& work, const OutputGradient& given, bool, GradientBuffers&) {
    const auto g = multiplied_out(given, work);
    auto pulled = work.pulled.like(g);
    return at::threshold_backward_out(pulled, g, work.output, 0);
  }
  torch::Tensor backward(const closed_form::Tanh&, Work& work, const OutputGradient& given, bool, GradientBuffers&) {
    const auto g = multiplied_out(given, work);
    auto pulled = work.pulled.like(g);
    return at::tanh_backward_out(pulled, g, work.output);
  }

  // ---- A linear layer on a layer norm at the bottom ----

  /// Whether layer i is a trainable linear layer directly above a layer norm.
  bool is_linear_on_layer_norm(std::size_t i, const GradientBuffers& gradients) const {
    const auto* linear = std::get_if<closed_form::Linear>(&stage_[i]);
    return linear != nullptr && gradients.wants(linear->weight) &&
           std::holds_alternative<closed_form::LayerNorm>(stage_[i - 1]);
  }

  void backward_through_both(std::size_t i, const OutputGradient& given, GradientBuffers& gradients) {
    const auto& linear = std::get<closed_form::Linear>(stage_[i]);
    const auto& norm = std::get<closed_form::LayerNorm>(stage_[i - 1]);
    auto& work = work_[i];
    const auto g = in_best_form(given, work);
    auto product = work.product.like(linear.weight.detach());  // G, then W * G
    auto& weight = gradients.buffer_for(linear.weight);
    product_with(operand(work_[i - 1].normal, work.zs), g, work, product);
    torch::Tensor sums;
    if (gradients.wants(linear.bias)) {
      sums = gradients.buffer_for(linear.bias);
    } else {
      sums = work.scale.get({linear.weight.size(0)}, product.options());
    }
    sum_over_batch(g, sums);
    at::mul_out(weight, product, norm.weight).addr_(sums, norm.bias);
    if (gradients.wants(norm.weight)) at::sum_out(gradients.buffer_for(norm.weight), product.mul_(linear.weight), 0);
    if (gradients.wants(norm.bias)) at::mv_out(gradients.buffer_for(norm.bias), linear.weight.t(), sums);
  }

  std::size_t lowest_trainable(const GradientBuffers& gradients) const {
    for (std::size_t i = 0; i < stage_.size(); ++i) {
      if (std::visit([&](const auto& layer) { return trainable(layer, gradients); }, stage_[i])) return i;
    }
    return stage_.size();
  }
  template <class Layer>
  static bool trainable(const Layer& layer, const GradientBuffers& gradients) {
    if constexpr (requires { layer.weight; }) {
      return gradients.wants(layer.weight) || gradients.wants(layer.bias);
    } else {
      return false;
    }
  }

  closed_form::Stage stage_;
  bool rounds_;  ///< whether large products are in bfloat16
  std::vector<Work> work_;
  Buffer scaled_;  ///< the left factor of the incoming gradient, times its scale
};

}  // namespace creditlib::detail
