// SPDX-License-Identifier: Apache-2.0
#include <creditlib/runtime/matmul.hpp>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Puts the process's choice back when a test ends.
struct Restored {
  bool onednn = creditlib::detail::multiplies_by_onednn();
  ~Restored() { creditlib::detail::multiply_by_onednn(onednn); }
};

/// Relative distance of a float32 product to that in float64. It is one that oneDNN gets: LibTorch keeps small ones.
double error_of_a_product() {
  torch::manual_seed(3);
  const auto a = torch::randn({128, 1024}), b = torch::randn({1024, 256});
  const auto exact = a.to(torch::kFloat64).mm(b.to(torch::kFloat64));
  return (a.mm(b) - exact).norm().item<double>() / exact.norm().item<double>();
}

}  // namespace

TEST_CASE("the process multiplies as it was told", "[runtime]") {
  const Restored restored;

  runtime::use_matmul(runtime::Matmul::BFloat16);
  CHECK(runtime::matmul_in_use() == runtime::Matmul::OneDNN);
  runtime::use_matmul(runtime::Matmul::Default);
  CHECK(runtime::matmul_in_use() == runtime::Matmul::Default);
  CHECK(error_of_a_product() < 1e-5);
}

TEST_CASE("oneDNN is taken only where its products are float32's", "[runtime]") {
  const Restored restored;
  runtime::use_matmul(runtime::Matmul::BFloat16);
  const bool rounds = error_of_a_product() > 1e-5;
  runtime::use_matmul(runtime::Matmul::Default);

  const auto said = error_of([] { runtime::use_matmul(runtime::Matmul::OneDNN); });

  if (rounds) {
    CHECK(says(said, {"oneDNN rounds float32 matrices to bfloat16", "use LibTorch's own"}));
    CHECK(runtime::matmul_in_use() == runtime::Matmul::Default);
  } else {
    CHECK(said == "(nothing was thrown)");
    CHECK(runtime::matmul_in_use() == runtime::Matmul::OneDNN);
  }
}

TEST_CASE("a choice by timing is one of the two that it timed, in float32, and is in use then", "[runtime]") {
  const Restored restored;

  const auto trial = runtime::choose_matmul();

  CHECK(trial.chosen != runtime::Matmul::BFloat16);
  CHECK(runtime::matmul_in_use() == trial.chosen);
  CHECK(trial.default_milliseconds > 0);
  CHECK(trial.onednn_milliseconds > 0);
  CHECK(trial.default_error > 0);
  CHECK(trial.default_error < 1e-5);
  CHECK(error_of_a_product() < 1e-5);
}
