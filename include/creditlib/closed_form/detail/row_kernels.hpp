// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/native_layer_norm.h>
#include <torch/types.h>

#include <creditlib/detail/row_loops.hpp>
#include <cstdint>
#include <cstring>

/// LayerNorm and GELU over rows, into existing tensors: for float32 on the CPU in one pass over memory each, elsewhere
/// by LibTorch's own kernels.
namespace creditlib::detail {

namespace rows {

/// e^x for x <= 0, to 2 ulp; clamped to e^-87 below -87.
CREDITLIB_DETAIL_INLINE void exp_of_negative(Floats& x) {
  x = x < -87.0f ? Floats{} - 87.0f : x;
  const Floats scaled = x * 1.44269504f - 0.5f;
  const Ints whole = __builtin_convertvector(scaled, Ints);  // toward 0: the nearest integer of x / ln 2
  const Floats n = __builtin_convertvector(whole, Floats);
  const Floats r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const Ints power = (whole + 127) << 23;
  Floats two_to_n;
  std::memcpy(&two_to_n, &power, sizeof power);
  x = p * two_to_n;
}

CREDITLIB_DETAIL_FOR_EACH_CPU inline void layer_norm(const float* x, const float* weight, const float* bias, float eps,
                                                     std::int64_t count, std::int64_t width, float* normal, float* rstd,
                                                     float* y) {
  for (std::int64_t row = 0; row < count; ++row, x += width, normal += width, y += width) {
    Floats total{}, square{};
    in_lanes(width, [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
      Floats v;
      load(v, x + i, n);
      total += v;
    });
    const float mean = sum(total) / static_cast<float>(width);
    in_lanes(width, [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
      Floats v;
      load(v, x + i, n);
      v -= mean;
      for (std::int64_t j = n; j < lanes; ++j) v[j] = 0;  // lanes past the end hold no data
      square += v * v;
    });
    const float scale = 1 / __builtin_sqrtf(sum(square) / static_cast<float>(width) + eps);
    rstd[row] = scale;
    in_lanes(width, [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
      Floats v, w, b;
      load(v, x + i, n);
      v = (v - mean) * scale;
      store(normal + i, v, n);
      if (weight == nullptr) return;
      load(w, weight + i, n);
      load(b, bias + i, n);
      v = v * w + b;
      store(y + i, v, n);
    });
  }
}

CREDITLIB_DETAIL_FOR_EACH_CPU inline void layer_norm_pullback(const float* gradient, const float* weight,
                                                              const float* normal, const float* rstd,
                                                              std::int64_t count, std::int64_t width, float* pulled) {
  for (std::int64_t row = 0; row < count; ++row, gradient += width, normal += width, pulled += width) {
    Floats total{}, along{}, g, z, w;
    const auto weighted = [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
      load(g, gradient + i, n);
      load(z, normal + i, n);
      if (weight == nullptr) return;
      load(w, weight + i, n);
      g *= w;
    };
    in_lanes(width, [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
      weighted(i, n);
      total += g;
      along += g * z;
    });
    const float mean = sum(total) / static_cast<float>(width), projection = sum(along) / static_cast<float>(width);
    in_lanes(width, [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
      weighted(i, n);
      g = (g - mean - z * projection) * rstd[row];
      store(pulled + i, g, n);
    });
  }
}

/// y = x Phi(x) and its derivative, Phi(x) + x phi(x); Phi by Abramowitz and Stegun 7.1.26, absolute error 1e-7.
CREDITLIB_DETAIL_FOR_EACH_CPU inline void gelu(const float* x, std::int64_t count, float* y, float* slope) {
  in_lanes(count, [&](std::int64_t i, std::int64_t n) CREDITLIB_DETAIL_INLINE_LAMBDA {
    Floats v;
    load(v, x + i, n);
    const Floats size = v < 0.0f ? -v : v;
    const Floats exponent = v * v * -0.5f;
    Floats density = exponent;
    exp_of_negative(density);
    // For |x| > 8 the tail of Phi vanishes; it must not become denormal (1e-38), which is slow on many processors.
    density = exponent < -32.0f ? Floats{} : density;
    const Floats t = 1.0f / (size * (0.3275911f * 0.70710678f) + 1.0f);
    Floats tail = t * 1.061405429f - 1.453152027f;
    tail = tail * t + 1.421413741f;
    tail = tail * t - 0.284496736f;
    tail = (tail * t + 0.254829592f) * t * density * 0.5f;  // 1 - Phi(|x|)
    const Floats below = v < 0.0f ? tail : 1.0f - tail;
    const Floats value = v * below, derivative = v * density * 0.39894228f + below;
    store(y + i, value, n);
    store(slope + i, derivative, n);
  });
}

}  // namespace rows

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
