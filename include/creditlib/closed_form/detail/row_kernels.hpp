// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/native_layer_norm.h>
#include <torch/types.h>

#include <creditlib/closed_form/detail/gelu_rows.hpp>
#include <creditlib/closed_form/detail/layer_norm_rows.hpp>
#include <creditlib/detail/float_rows.hpp>

/// LayerNorm and GELU over rows, into existing tensors: for float32 on the CPU in one pass over memory each, elsewhere
/// by LibTorch's own kernels.
namespace creditlib::detail {

/// normal = (x - mean) rstd, y = normal * weight + bias; rstd (B). Without a weight y is not written, so it may be
/// `normal`.
inline void layer_norm_into(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias, double eps,
                            torch::Tensor& normal, torch::Tensor& rstd, torch::Tensor& y) {
  if (in_rows_of_float(x) && in_rows_or_none(weight) && in_rows_or_none(bias)) {
    rows::layer_norm(x.data_ptr<float>(), floats_or_null(weight), floats_or_null(bias), static_cast<float>(eps),
                     x.size(0), x.size(1), normal.mutable_data_ptr<float>(), rstd.mutable_data_ptr<float>(),
                     y.mutable_data_ptr<float>());
    return;
  }
  const auto [out, mean, scale] = at::native_layer_norm(x, {x.size(1)}, {}, {}, eps);
  normal.copy_(out);
  rstd.copy_(scale.view({-1}));
  if (weight.defined()) at::addcmul_out(y, bias, normal, weight);
}

/// The gradient in x of <y(x), gradient>.
inline void layer_norm_pullback_into(const torch::Tensor& gradient, const torch::Tensor& weight,
                                     const torch::Tensor& normal, const torch::Tensor& rstd, torch::Tensor& pulled) {
  if (in_rows_of_float(gradient) && in_rows_or_none(weight)) {
    rows::layer_norm_pullback(gradient.data_ptr<float>(), floats_or_null(weight), normal.data_ptr<float>(),
                              rstd.data_ptr<float>(), gradient.size(0), gradient.size(1),
                              pulled.mutable_data_ptr<float>());
    return;
  }
  const auto g = weight.defined() ? gradient * weight : gradient;
  at::mul_out(pulled, g - g.mean(1, true) - normal * (g * normal).mean(1, true), rstd.unsqueeze(1));
}

/// y = GELU(x) and its derivative at x.
inline void gelu_into(const torch::Tensor& x, torch::Tensor& y, torch::Tensor& slope) {
  if (in_rows_of_float(x)) {
    rows::gelu(x.data_ptr<float>(), x.numel(), y.mutable_data_ptr<float>(), slope.mutable_data_ptr<float>());
    return;
  }
  at::gelu_out(y, x);
  slope.copy_(at::gelu_backward(torch::ones_like(x), x));
}

}  // namespace creditlib::detail
