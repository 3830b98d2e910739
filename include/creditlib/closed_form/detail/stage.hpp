// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/closed_form/detail/backward_work.hpp>
#include <creditlib/closed_form/detail/buffer.hpp>
#include <creditlib/closed_form/detail/gradient_buffers.hpp>
#include <creditlib/closed_form/detail/row_kernels.hpp>
#include <creditlib/closed_form/detail/share.hpp>
#include <creditlib/closed_form/network.hpp>
#include <creditlib/detail/team.hpp>
#include <creditlib/pass/output_gradients.hpp>
#include <creditlib/trainer_options.hpp>
#include <utility>
#include <vector>

namespace creditlib::detail {

/// Runs a stage forward and backward by formula, in its own buffers. With B samples:
///
///     linear       dW = g^T x,  db = sum_b g,  dx = g W;    with g = left right^T of low rank
///                  dW = right (left^T x),  db = right (sum_b left),  dx = left (right^T W)
///     layer norm   dx = rstd (v - mean(v) - z mean(v z)),  v = g * weight,  z the normalized x;
///                  dweight = sum_b g z,  dbias = sum_b g;
///                  below a linear layer and if no dx is needed, without a separate product: with G = g^T z
///                  dW = G * weight + db bias^T,  dweight = sum_rows W * G,  dbias = W^T db
///
/// A change v of the input goes up the same way: v W^T through a linear layer, and through a layer norm
/// rstd (v - mean(v) - z mean(v z)) * weight.
///
/// Both ways the calling thread prepares, and then threads can do the work on rows of their own.
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

  /// Takes (B, in) and returns the (B, out) that forward() will compute.
  torch::Tensor prepare(torch::Tensor x) {
    for (std::size_t i = 0; i < stage_.size(); ++i) {
      auto& work = work_[i];
      work.input = std::move(x);
      work.output = x = std::visit([&](const auto& layer) { return prepare(layer, work); }, stage_[i]);
    }
    return x;
  }
  /// Computes these rows.
  void forward(const Share& share) const {
    for (std::size_t i = 0; i < stage_.size(); ++i) {
      const auto out = share.rows(work_[i].output);
      std::visit([&](const auto& layer) { forward(layer, work_[i], share, out); }, stage_[i]);
    }
  }

  /// Releases what forward() kept; the buffers remain.
  void reset() {
    for (auto& work : work_) {
      for (auto* kept :
           {&work.input, &work.output, &work.normal, &work.rstd, &work.slope, &work.x, &work.w, &work.rounded})
        kept->reset();
    }
  }

  /// The gradient in the stage's input from the gradient in its output, without parameter gradients.
  torch::Tensor pullback(const torch::Tensor& g, std::int64_t shares) {
    const torch::NoGradGuard no_grad;
    GradientBuffers none({});
    BackwardWork todo;
    auto pulled = backward({g, {}}, /*input_too=*/true, none, todo);
    todo.run(shares);
    return pulled;
  }

  /// What a change v of the stage's input does to its output, to first order.
  torch::Tensor push(const torch::Tensor& v, std::int64_t shares) const {
    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> changes{v.contiguous()};
    for (const auto& work : work_) changes.push_back(at::empty_like(work.output));
    in_shares(shares, [&](std::int64_t i) {
      const Share share{i, shares};
      for (std::size_t at = 0; at < stage_.size(); ++at) {
        const auto in = share.rows(changes[at]), out = share.rows(changes[at + 1]);
        std::visit([&](const auto& layer) { push(layer, work_[at], share, in, out); }, stage_[at]);
      }
    });
    return changes.back();
  }

  /// From the gradient g in the stage's output: adds to `todo` what writes the gradients of its trainable parameters and
  /// the gradient in its input, which is returned, if `input_too`. Adds nothing if g is undefined.
  torch::Tensor backward(OutputGradient g, bool input_too, GradientBuffers& gradients, BackwardWork& todo) {
    if (!g.defined()) return {};
    if (g.factors.scale.defined()) g.factors = unscaled(g.factors);
    const std::size_t lowest = input_too ? 0 : lowest_trainable(gradients);
    for (std::size_t i = stage_.size(); i-- > lowest;) {
      if (!input_too && i == lowest + 1 && is_linear_on_layer_norm(i, gradients)) {
        backward_through_both(i, g, gradients, todo);
        return {};
      }
      const bool below = i > lowest || input_too;
      const auto through = [&](const auto& layer) { return backward(layer, work_[i], g, below, gradients, todo); };
      g = {std::visit(through, stage_[i]), {}};
    }
    return g.dense;
  }

 private:
  struct Work {
    torch::Tensor input, output, normal, rstd, slope;  ///< of the present pass; they live in the buffers below
    torch::Tensor x, w, rounded;                       ///< input, weight and output in the precision of products
    Buffer outputs, normals, rstds, slopes, dense, pulled, thin, thin_product, product, sums;
    Buffer xs, ws, gs, zs, rounded_outputs, rounded_pulled, rounded_product;  ///< in bfloat16
  };

  // ---- Products ----

  /// Room for a matrix in the precision of large products: the matrix itself, or a bfloat16 tensor of its sizes.
  torch::Tensor room(const torch::Tensor& matrix, Buffer& buffer) const {
    return rounds_ ? buffer.get(matrix.sizes(), matrix.options().dtype(torch::kBFloat16)) : matrix;
  }
  /// The same with the matrix in it.
  torch::Tensor operand(const torch::Tensor& matrix, Buffer& buffer) const {
    const auto rounded = room(matrix, buffer);
    if (rounds_) rounded.copy_(matrix);
    return rounded;
  }
  /// The same, in it once its rows are done.
  torch::Tensor operand(const torch::Tensor& matrix, Buffer& buffer, BackwardWork& todo) const {
    const auto rounded = room(matrix, buffer);
    if (rounds_) todo.add_rows([=](const Share& share) { share.rows(rounded).copy_(share.rows(matrix)); });
    return rounded;
  }

  /// out = a b, for operands; if they are rounded, through `rounded`, of out's sizes.
  static void multiply(torch::Tensor out, const torch::Tensor& a, const torch::Tensor& b, torch::Tensor rounded) {
    if (a.scalar_type() == out.scalar_type()) {
      at::mm_out(out, a, b);
    } else {
      out.copy_(at::mm_out(rounded, a, b));
    }
  }

  // ---- Forward ----

  torch::Tensor prepare(const closed_form::Linear& layer, Work& work) {
    auto out = work.outputs.get({work.input.size(0), layer.weight.size(0)}, work.input.options());
    work.x = room(work.input, work.xs);
    work.w = operand(layer.weight, work.ws);
    work.rounded = room(out, work.rounded_outputs);
    return out;
  }
  torch::Tensor prepare(const closed_form::LayerNorm& layer, Work& work) {
    work.normal = work.normals.like(work.input);
    work.rstd = work.rstds.get({work.input.size(0)}, work.input.options());
    return layer.weight.defined() ? work.outputs.like(work.input) : work.normal;
  }
  torch::Tensor prepare(const closed_form::GELU&, Work& work) {
    work.slope = work.slopes.like(work.input);
    return work.outputs.like(work.input);
  }
  torch::Tensor prepare(const closed_form::ReLU&, Work& work) { return work.outputs.like(work.input); }
  torch::Tensor prepare(const closed_form::Tanh&, Work& work) { return work.outputs.like(work.input); }

  void forward(const closed_form::Linear& layer, const Work& work, const Share& share, torch::Tensor out) const {
    const auto x = share.rows(work.x);
    if (rounds_) x.copy_(share.rows(work.input));
    if (layer.bias.defined() && !rounds_) {
      at::addmm_out(out, layer.bias, x, work.w.t());
    } else {
      multiply(out, x, work.w.t(), share.rows(work.rounded));
      if (layer.bias.defined()) out.add_(layer.bias);
    }
  }
  static void forward(const closed_form::LayerNorm& layer, const Work& work, const Share& share, torch::Tensor out) {
    auto normal = share.rows(work.normal), rstd = share.rows(work.rstd);
    layer_norm_into(share.rows(work.input), layer.weight, layer.bias, layer.eps, normal, rstd, out);
  }
  static void forward(const closed_form::GELU&, const Work& work, const Share& share, torch::Tensor out) {
    auto slope = share.rows(work.slope);
    gelu_into(share.rows(work.input), out, slope);
  }
  static void forward(const closed_form::ReLU&, const Work& work, const Share& share, torch::Tensor out) {
    at::clamp_min_out(out, share.rows(work.input), 0);
  }
  static void forward(const closed_form::Tanh&, const Work& work, const Share& share, torch::Tensor out) {
    at::tanh_out(out, share.rows(work.input));
  }

  // ---- A change of the input ----

  void push(const closed_form::Linear&, const Work& work, const Share&, const torch::Tensor& v,
            torch::Tensor out) const {
    if (rounds_) {
      out.copy_(v.to(work.w.scalar_type()).mm(work.w.t()));
    } else {
      at::mm_out(out, v, work.w.t());
    }
  }
  static void push(const closed_form::LayerNorm& layer, const Work& work, const Share& share, const torch::Tensor& v,
                   torch::Tensor out) {
    layer_norm_pullback_into(v, {}, share.rows(work.normal), share.rows(work.rstd), out);  // symmetric but for weight
    if (layer.weight.defined()) out.mul_(layer.weight);
  }
  static void push(const closed_form::GELU&, const Work& work, const Share& share, const torch::Tensor& v,
                   torch::Tensor out) {
    at::mul_out(out, v, share.rows(work.slope));
  }
  static void push(const closed_form::ReLU&, const Work& work, const Share& share, const torch::Tensor& v,
                   torch::Tensor out) {
    at::threshold_backward_out(out, v, share.rows(work.output), 0);
  }
  static void push(const closed_form::Tanh&, const Work& work, const Share& share, const torch::Tensor& v,
                   torch::Tensor out) {
    at::tanh_backward_out(out, v, share.rows(work.output));
  }

  // ---- Backward ----

  /// The same credit with its scale multiplied into the left factor.
  FactoredCredit unscaled(const FactoredCredit& a) {
    auto left = scaled_.like(a.left);
    return {at::mul_out(left, a.left, a.scale), a.right};
  }

  static torch::Tensor multiplied_out(const OutputGradient& g, Work& work, BackwardWork& todo) {
    if (g.dense.defined()) return g.dense.contiguous();
    const auto [left, right, scale] = g.factors;
    auto dense = work.dense.get({left.size(0), right.size(0)}, left.options());
    todo.add_rows([=](const Share& share) {
      auto rows = share.rows(dense);
      at::mm_out(rows, share.rows(left), right.t());
    });
    return dense;
  }

  static OutputGradient in_best_form(const OutputGradient& g, Work& work, BackwardWork& todo) {
    if (g.factors.defined() && g.factors.saves_work()) return g;
    return {multiplied_out(g, work, todo), {}};
  }

  /// (out, in) = g^T x, of which threads can compute columns.
  struct Product {
    torch::Tensor g, x;  ///< operands; g dense or its left factor
    torch::Tensor right, thin;
    torch::Tensor rounded;

    void columns_into(const torch::Tensor& out, const Share& share) const {
      const auto columns = share.columns(x);
      if (!right.defined()) {
        multiply(out, g.t(), columns, share.columns(rounded));
        return;
      }
      const auto between = share.columns(thin);
      multiply(between, g.t(), columns, share.columns(rounded));
      auto whole = out;
      at::mm_out(whole, right, between);
    }
    double multiplications() const {
      const auto inputs = static_cast<double>(x.size(1)), batch = static_cast<double>(g.size(0));
      const auto outputs = right.defined() ? static_cast<double>(right.size(0)) : 0;
      return static_cast<double>(g.size(1)) * inputs * (batch + outputs);
    }
  };
  /// `operand` is that of g.
  Product product_with(const torch::Tensor& x, const OutputGradient& g, const torch::Tensor& operand,
                       Work& work) const {
    Product product{operand, x, {}, {}, {}};
    const auto options = x.options().dtype(operand.scalar_type());
    if (g.factors.defined()) {
      product.right = g.factors.right;
      product.thin = work.thin_product.get({operand.size(1), x.size(1)}, g.factors.left.options());
    }
    if (rounds_) product.rounded = work.rounded_product.get({operand.size(1), x.size(1)}, options);
    return product;
  }
  torch::Tensor operand_of(const OutputGradient& g, Work& work, BackwardWork& todo) const {
    return g.dense.defined() ? operand(g.dense, work.gs, todo) : operand(g.factors.left, work.gs);
  }

  /// (out) = sum_b g; of a share of out.
  static void sum_over_batch(const OutputGradient& g, torch::Tensor out, const Share& share) {
    if (g.dense.defined()) {
      at::sum_out(out, share.columns(g.dense), 0);
    } else {
      at::mv_out(out, share.rows(g.factors.right), g.factors.left.sum(0));
    }
  }
  static void add_sum_over_batch(const OutputGradient& g, const torch::Tensor& out, BackwardWork& todo) {
    todo.add_sum(static_cast<double>(out.numel()),
                 [=](const Share& share) { sum_over_batch(g, share.rows(out), share); });
  }

  torch::Tensor backward(const closed_form::Linear& layer, Work& work, const OutputGradient& given, bool below,
                         GradientBuffers& gradients, BackwardWork& todo) {
    const bool in_factors = gradients.keeps_factors() && has_fewer_numbers(given, layer);
    if (in_factors) {
      backward_in_factors(layer, work, given.factors, gradients, todo);
      if (!below) return {};
    }
    const auto g = in_best_form(given, work, todo);
    const auto of_g = operand_of(g, work, todo);
    if (!in_factors && gradients.wants(layer.weight)) {
      const auto product = product_with(work.x, g, of_g, work);
      const auto out = gradients.buffer_for(layer.weight);
      todo.add_sum(product.multiplications(),
                   [=](const Share& share) { product.columns_into(share.columns(out), share); });
    }
    if (!in_factors && gradients.wants(layer.bias)) add_sum_over_batch(g, gradients.buffer_for(layer.bias), todo);
    if (!below) return {};
    const auto pulled = work.pulled.like(work.input);
    if (g.dense.defined()) {
      const auto rounded = room(pulled, work.rounded_pulled);
      todo.add_rows([=, w = work.w](const Share& share) {
        multiply(share.rows(pulled), share.rows(of_g), w, share.rows(rounded));
      });
    } else {
      const auto [left, right, scale] = g.factors;
      const auto thin = work.thin.get({right.size(1), work.input.size(1)}, work.input.options());
      todo.add_first([=, weight = layer.weight] {
        auto out = thin;
        at::mm_out(out, right.t(), weight);
      });
      todo.add_rows([=](const Share& share) {
        auto rows = share.rows(pulled);
        at::mm_out(rows, share.rows(left), thin);
      });
    }
    return pulled;
  }
  /// Whether a layer's gradient has fewer numbers as right (left^T x) than dense; no matter how large the batch is.
  bool has_fewer_numbers(const OutputGradient& g, const closed_form::Linear& layer) const {
    const auto outputs = layer.weight.size(0), inputs = layer.weight.size(1);
    return g.factors.defined() && !rounds_ && g.factors.right.size(1) * (outputs + inputs) < outputs * inputs;
  }
  /// Writes left^T x and sum_b left, of which dW and db are products with right.
  void backward_in_factors(const closed_form::Linear& layer, Work& work, const FactoredCredit& g,
                           GradientBuffers& gradients, BackwardWork& todo) {
    const auto rank = g.left.size(1);
    if (gradients.wants(layer.weight)) {
      const auto out = gradients.right_factor_for(layer.weight, g.right, {rank, work.x.size(1)});
      const Product product{g.left, work.x, {}, {}, {}};
      todo.add_sum(product.multiplications(),
                   [=](const Share& share) { product.columns_into(share.columns(out), share); });
    }
    if (gradients.wants(layer.bias)) {
      add_sum_over_batch({g.left, {}}, gradients.right_factor_for(layer.bias, g.right, {rank}), todo);
    }
  }
  torch::Tensor backward(const closed_form::LayerNorm& layer, Work& work, const OutputGradient& given, bool below,
                         GradientBuffers& gradients, BackwardWork& todo) {
    const auto g = multiplied_out(given, work, todo);
    if (gradients.wants(layer.bias)) add_sum_over_batch({g, {}}, gradients.buffer_for(layer.bias), todo);
    if (gradients.wants(layer.weight)) {
      const auto product = work.product.like(g), out = gradients.buffer_for(layer.weight);
      todo.add_sum(static_cast<double>(out.numel()), [=, normal = work.normal](const Share& share) {
        auto part = share.columns(product), sums = share.rows(out);
        at::sum_out(sums, at::mul_out(part, share.columns(g), share.columns(normal)), 0);
      });
    }
    if (!below) return {};
    const auto pulled = work.pulled.like(g);
    todo.add_rows([=, weight = layer.weight, normal = work.normal, rstd = work.rstd](const Share& share) {
      auto rows = share.rows(pulled);
      layer_norm_pullback_into(share.rows(g), weight, share.rows(normal), share.rows(rstd), rows);
    });
    return pulled;
  }
  /// A layer without parameters: `pull(out, g, kept)` on rows.
  template <class Pull>
  static torch::Tensor backward_by_element(const torch::Tensor& kept, Work& work, const OutputGradient& given,
                                           BackwardWork& todo, const Pull& pull) {
    const auto g = multiplied_out(given, work, todo);
    const auto pulled = work.pulled.like(g);
    todo.add_rows([=](const Share& share) {
      auto rows = share.rows(pulled);
      pull(rows, share.rows(g), share.rows(kept));
    });
    return pulled;
  }
  torch::Tensor backward(const closed_form::GELU&, Work& work, const OutputGradient& given, bool, GradientBuffers&,
                         BackwardWork& todo) {
    return backward_by_element(work.slope, work, given, todo,
                               [](auto& out, const auto& g, const auto& slope) { at::mul_out(out, g, slope); });
  }
  torch::Tensor backward(const closed_form::ReLU&, Work& work, const OutputGradient& given, bool, GradientBuffers&,
                         BackwardWork& todo) {
    return backward_by_element(work.output, work, given, todo, [](auto& out, const auto& g, const auto& y) {
      at::threshold_backward_out(out, g, y, 0);
    });
  }
  torch::Tensor backward(const closed_form::Tanh&, Work& work, const OutputGradient& given, bool, GradientBuffers&,
                         BackwardWork& todo) {
    return backward_by_element(work.output, work, given, todo,
                               [](auto& out, const auto& g, const auto& y) { at::tanh_backward_out(out, g, y); });
  }

  // ---- A linear layer on a layer norm at the bottom ----

  /// Whether layer i is a trainable linear layer directly above a layer norm.
  bool is_linear_on_layer_norm(std::size_t i, const GradientBuffers& gradients) const {
    const auto* linear = std::get_if<closed_form::Linear>(&stage_[i]);
    return linear != nullptr && gradients.wants(linear->weight) &&
           std::holds_alternative<closed_form::LayerNorm>(stage_[i - 1]);
  }

  void backward_through_both(std::size_t i, const OutputGradient& given, GradientBuffers& gradients,
                             BackwardWork& todo) {
    const auto& linear = std::get<closed_form::Linear>(stage_[i]);
    const auto& norm = std::get<closed_form::LayerNorm>(stage_[i - 1]);
    auto& work = work_[i];
    const auto g = in_best_form(given, work, todo);
    const auto weight = linear.weight.detach();
    const auto& z = work_[i - 1].normal;
    const auto rounded_z = room(z, work.zs);
    const auto product = product_with(rounded_z, g, operand_of(g, work, todo), work);
    const auto with_z = work.product.like(weight);  // G, then W * G
    const auto buffer_or_none = [&](const torch::Tensor& parameter) {
      return gradients.wants(parameter) ? gradients.buffer_for(parameter) : torch::Tensor();
    };
    const auto of_weight = gradients.buffer_for(linear.weight);
    const auto of_gain = buffer_or_none(norm.weight), of_shift = buffer_or_none(norm.bias);
    auto of_bias = buffer_or_none(linear.bias);
    if (!of_bias.defined()) of_bias = work.sums.get({weight.size(0)}, weight.options());

    todo.add_sum(product.multiplications(), [=, gain = norm.weight, shift = norm.bias](const Share& share) {
      if (!rounded_z.is_same(z)) share.columns(rounded_z).copy_(share.columns(z));
      auto part = share.columns(with_z), out = share.columns(of_weight);
      product.columns_into(part, share);
      const auto sums = share.index == 0 ? of_bias : at::empty_like(of_bias);  // every share of columns needs all
      sum_over_batch(g, sums, {});
      at::mul_out(out, part, share.rows(gain)).addr_(sums, share.rows(shift));
      if (of_gain.defined()) {
        auto gains = share.rows(of_gain);
        at::sum_out(gains, part.mul_(share.columns(weight)), 0);
      }
      if (of_shift.defined()) {
        auto shifts = share.rows(of_shift);
        at::mv_out(shifts, share.columns(weight).t(), sums);
      }
    });
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
