#include "support/matmul.hpp"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <fmt/format.h>
#include <torch/types.h>

#include <chrono>
#include <cstdio>

#include "support/figures.hpp"
#include "support/program.hpp"

namespace support {
namespace {

void use_onednn(bool on) {
  at::globalContext().setFloat32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL,
                                          on ? at::Float32Precision::BF16 : at::Float32Precision::NONE);
}

/// Products of the sizes of a training step of a residual MLP.
struct Trial {
  torch::Tensor x = draw({128, 1024}), w = draw({256, 1024}), wide = draw({128, 256});
  torch::Tensor exact = x.to(torch::kFloat64).mm(w.to(torch::kFloat64).t());

  static torch::Tensor draw(torch::IntArrayRef sizes) {
    auto generator = at::make_generator<at::CPUGeneratorImpl>(1);
    return at::randn(sizes, generator, torch::TensorOptions(torch::kFloat32));
  }

  /// Relative distance to the product in float64.
  double error() const { return (x.mm(w.t()) - exact).norm().item<double>() / exact.norm().item<double>(); }

  double milliseconds() const {
    const auto start = std::chrono::steady_clock::now();
    x.mm(w.t());
    wide.t().mm(x);
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }
};

/// float32 rounds a sum of 1,024 products to about 3e-7 of it, bfloat16 to about 2e-3.
bool is_float32(double error) { return error < 1e-5; }

}  // namespace

const std::vector<std::string>& matmul_names() {
  static const std::vector<std::string> names{"auto", "mkl", "onednn", "bf16"};
  return names;
}

void choose_matmul(const std::string& wanted, bool quiet) {
  const torch::NoGradGuard no_grad;
  use_onednn(wanted == "onednn" || wanted == "bf16");
  if (wanted == "mkl" || wanted == "bf16") return;
  const Trial trial;
  if (wanted == "onednn") {
    if (const double error = trial.error(); !is_float32(error)) {
      use_onednn(false);
      throw UsageError(
          fmt::format("--matmul onednn: on this processor oneDNN rounds to bfloat16 (an error of {:.0e} of a product); "
                      "use mkl, or bf16 if "
                      "that is meant",
                      error));
    }
    return;
  }
  std::vector<double> with_mkl, with_onednn;
  double errors[2] = {};
  for (int round = 0; round < 12; ++round) {  // in turns, so that both meet the same load
    for (const bool onednn : {false, true}) {
      use_onednn(onednn);
      if (round == 0) errors[onednn] = trial.error();
      const double time = trial.milliseconds();
      if (round > 1) (onednn ? with_onednn : with_mkl).push_back(time);
    }
  }
  const double mkl = median(with_mkl), onednn = median(with_onednn);
  const bool faster = onednn < 0.97 * mkl && errors[1] <= 4 * errors[0];
  use_onednn(faster);
  if (!quiet) {
    fmt::print(stderr,
               "matrix products by {}: mkl {:.2f} ms with an error of {:.0e}, onednn {:.2f} ms and {:.0e} (--matmul "
               "chooses)\n",
               faster ? "onednn" : "mkl", mkl, errors[0], onednn, errors[1]);
  }
}

std::string matmul_in_use() {
  const auto precision = at::globalContext().float32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL);
  return precision == at::Float32Precision::BF16 ? "onednn" : "mkl";
}

}  // namespace support
