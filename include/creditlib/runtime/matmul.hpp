// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <torch/types.h>

#include <algorithm>
#include <chrono>
#include <creditlib/error.hpp>
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

  double milliseconds() const {
    const auto start = std::chrono::steady_clock::now();
    x_.mm(w_.t());
    wide_.t().mm(x_);
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

inline double middle(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

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

}  // namespace creditlib::runtime

namespace creditlib {
namespace process = runtime;  // deprecated name
}
