#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <torch/types.h>

#include <creditlib/error.hpp>
#include <string>

namespace bench {

/// Which of LibTorch's libraries multiplies float32 matrices on the CPU from now on: its own choice (mkl) or oneDNN, as
/// --matmul of the programs in examples/ has it. Throws creditlib::Error where oneDNN would round to bfloat16
/// (processors with AMX).
inline void use_matmul(const std::string& name) {
  const auto set = [](at::Float32Precision precision) {
    at::globalContext().setFloat32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL, precision);
  };
  if (name != "onednn") return set(at::Float32Precision::NONE);
  set(at::Float32Precision::BF16);
  auto generator = at::make_generator<at::CPUGeneratorImpl>(1);
  const auto x = at::randn({128, 1024}, generator, torch::TensorOptions(torch::kFloat32));
  const auto exact = x.to(torch::kFloat64).mm(x.to(torch::kFloat64).t());
  const double error = (x.mm(x.t()) - exact).norm().item<double>() / exact.norm().item<double>();
  if (error < 1e-5) return;  // float32 rounds such a product by about 3e-7 of it, bfloat16 by 2e-3
  set(at::Float32Precision::NONE);
  throw creditlib::Error(
      "--matmul onednn: oneDNN rounds float32 matrices to bfloat16 on this processor, so its times are not those of "
      "float32; use mkl");
}

}  // namespace bench
