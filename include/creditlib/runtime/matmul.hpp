// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <torch/types.h>

#include <chrono>
#include <creditlib/error.hpp>
#include <creditlib/runtime/detail/middle.hpp>
#include <vector>

namespace creditlib::detail {

/// Whether LibTorch computes float32 products with oneDNN.
inline bool multiplies_by_onednn() {
  const auto precision = at::globalContext().float32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL);
  return precision == at::Float32Precision::BF16;
}
inline void multiply_by_onednn(bool on) {
  at::globalContext().setFloat32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL,
                                          on ? at::Float32Precision::BF16 : at::Float32Precision::NONE);
}

/// Times matrix products of the sizes in a residual MLP's training step.
class MatmulBench {
 public:
  /// Relative distance to the product in float64.
  double error() const { return (x_.mm(w_.t()) - exact_).norm().item<double>() / exact_.norm().item<double>(); }

  double milliseconds(torch::Dtype dtype = torch::kFloat32) const {
    const auto x = x_.to(dtype), w = w_.to(dtype), wide = wide_.to(dtype);
    const auto start = std::chrono::steady_clock::now();
    x.mm(w.t());
    wide.t().mm(x);
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }

 private:
  static torch::Tensor draw(torch::IntArrayRef sizes) {
    auto generator = at::make_generator<at::CPUGeneratorImpl>(1);
    return at::randn(sizes, generator, torch::TensorOptions(torch::kFloat32));
  }

  torch::Tensor x_ = draw({128, 1024}), w_ = draw({256, 1024}), wide_ = draw({128, 256});
  torch::Tensor exact_ = x_.to(torch::kFloat64).mm(w_.to(torch::kFloat64).t());
};

}  // namespace creditlib::detail

namespace creditlib::runtime {

/// The library with which LibTorch multiplies float32 matrices on the CPU.
enum class Matmul {
  Default,   ///< LibTorch's own choice: MKL in its wheels
  OneDNN,    ///< oneDNN in float32, which makes better use of many AMD processors than MKL
  BFloat16,  ///< oneDNN, even if it rounds to bfloat16 (processors with AMX)
};

/// The result of a short timing of both libraries.
struct MatmulTrial {
  Matmul chosen;
  double default_milliseconds, onednn_milliseconds;  ///< medians, for products of the sizes of a training step
  double default_error, onednn_error;                ///< relative to the product in float64
};

/// The library in use. Returns OneDNN for BFloat16 as well: LibTorch does not distinguish them.
inline Matmul matmul_in_use() { return detail::multiplies_by_onednn() ? Matmul::OneDNN : Matmul::Default; }

/// Selects the library for the whole process from now on.
///
/// - Throws Error for OneDNN if that would round to bfloat16, and then changes nothing: float32 sums of 1,024 products
///   have a relative error of about 3e-7, bfloat16 sums one of 2e-3.
inline void use_matmul(Matmul wanted) {
  const torch::NoGradGuard no_grad;
  const bool before = detail::multiplies_by_onednn();
  detail::multiply_by_onednn(wanted != Matmul::Default);
  if (wanted != Matmul::OneDNN) return;
  const double error = detail::MatmulBench().error();
  if (error < 1e-5) return;
  detail::multiply_by_onednn(before);
  detail::fail("On this processor oneDNN rounds float32 matrices to bfloat16 (an error of ", error,
               " of a product); use LibTorch's own library (Matmul::Default), or Matmul::BFloat16 to accept that.");
}

/// Times both libraries alternately and selects oneDNN if it is faster and its error is at most 4 times that of
/// LibTorch's own choice; otherwise that choice. Takes some tens of milliseconds.
inline MatmulTrial choose_matmul() {
  const torch::NoGradGuard no_grad;
  const detail::MatmulBench bench;
  std::vector<double> times[2];
  double errors[2] = {};
  constexpr int rounds = 12, warmup = 2;
  for (int round = 0; round < rounds; ++round) {  // alternately, so that both meet the same load
    for (const bool onednn : {false, true}) {
      detail::multiply_by_onednn(onednn);
      if (round == 0) errors[onednn] = bench.error();
      const double time = bench.milliseconds();
      if (round >= warmup) times[onednn].push_back(time);
    }
  }
  MatmulTrial trial{Matmul::Default, detail::middle(times[0]), detail::middle(times[1]), errors[0], errors[1]};
  const bool faster = trial.onednn_milliseconds < 0.97 * trial.default_milliseconds;
  if (faster && trial.onednn_error <= 4 * trial.default_error) trial.chosen = Matmul::OneDNN;
  detail::multiply_by_onednn(trial.chosen == Matmul::OneDNN);
  return trial;
}

/// The result of a short timing of products in float32 and in bfloat16; medians, for the sizes of a training step.
struct PrecisionTrial {
  double float32_milliseconds, bfloat16_milliseconds;

  /// Whether bfloat16 is faster. Processors without instructions for it (AVX512-BF16, AMX) take several times as long.
  bool bfloat16_pays() const { return bfloat16_milliseconds < float32_milliseconds; }
};

/// Times products of both kinds alternately, with the library in use and LibTorch's threads. Takes some tens of
/// milliseconds, and tenths of a second if bfloat16 does not pay.
inline PrecisionTrial time_bfloat16() {
  const torch::NoGradGuard no_grad;
  const detail::MatmulBench bench;
  std::vector<double> float32, bfloat16;
  constexpr int rounds = 9, warmup = 2;
  for (int round = 0; round < rounds; ++round) {
    const double each[]{bench.milliseconds(torch::kFloat32), bench.milliseconds(torch::kBFloat16)};
    if (round < warmup) continue;
    float32.push_back(each[0]);
    bfloat16.push_back(each[1]);
  }
  return {detail::middle(float32), detail::middle(bfloat16)};
}

}  // namespace creditlib::runtime

namespace creditlib {
namespace process = runtime;  // deprecated name
}
