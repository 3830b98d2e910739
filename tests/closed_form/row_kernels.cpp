// SPDX-License-Identifier: Apache-2.0
#include <creditlib/closed_form/detail/row_kernels.hpp>
#include <limits>

#include "../test.hpp"

namespace {

/// Numbers below the normal range, which many processors are slow at.
std::int64_t denormals(const torch::Tensor& x) {
  return x.ne(0).logical_and(x.abs() < std::numeric_limits<float>::min()).sum().item<std::int64_t>();
}

}  // namespace

TEST_CASE("GELU and its slope are LibTorch's, and saturate to numbers in the normal range", "[closed_form]") {
  const auto x = torch::linspace(-40, 40, 8005, torch::kFloat32), exact = x.to(torch::kFloat64);
  auto y = torch::empty_like(x), slope = torch::empty_like(x);

  creditlib::detail::gelu_into(x, y, slope);

  CHECK((y - at::gelu(exact)).abs().max().item<double>() < 3e-6);  // at y = 40 float32's own spacing is 3.8e-6
  CHECK((slope - at::gelu_backward(torch::ones_like(exact), exact)).abs().max().item<double>() < 1e-6);
  CHECK(y[0].item<float>() == 0);
  CHECK(slope[0].item<float>() == 0);
  CHECK(denormals(y) == 0);
  CHECK(denormals(slope) == 0);
}
