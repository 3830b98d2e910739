// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <creditlib/closed_form/detail/row_kernels.hpp>
#include <cstdint>
#include <limits>
#include <vector>

#include "../test.hpp"

namespace {

/// Numbers below the normal range, which many processors are slow at.
std::int64_t denormals(const torch::Tensor& x) {
  return x.ne(0).logical_and(x.abs() < std::numeric_limits<float>::min()).sum().item<std::int64_t>();
}

/// Every 4,093rd float32 in the order of their bits: all signs and magnitudes, denormals, NaN; and the infinities.
torch::Tensor all_kinds_of_floats() {
  std::vector<float> values{std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 4093)
    values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  return torch::tensor(values);
}

/// The largest |a - b| / scale where both are finite.
double largest_error(const torch::Tensor& a, const torch::Tensor& b, const torch::Tensor& scale) {
  const auto error = (a.to(torch::kFloat64) - b).abs() / scale;
  return error.where(a.isfinite().logical_and(b.isfinite()), 0).max().item<double>();
}

bool same_kinds(const torch::Tensor& a, const torch::Tensor& b) {
  return torch::equal(a.isnan(), b.isnan()) && torch::equal(a.isinf(), b.to(torch::kFloat32).isinf());
}

}  // namespace

TEST_CASE("GELU and its slope are exact over the whole range of float32, NaN and infinity included", "[closed_form]") {
  const auto x = all_kinds_of_floats(), exact = x.to(torch::kFloat64), one = torch::ones_like(exact);
  auto y = torch::empty_like(x), slope = torch::empty_like(x);

  creditlib::detail::gelu_into(x, y, slope);

  const auto y_exact = at::gelu(exact), slope_exact = at::gelu_backward(one, exact);
  const double unit = std::numeric_limits<float>::epsilon();
  CHECK(same_kinds(y, y_exact));
  CHECK(same_kinds(slope, slope_exact));
  // LibTorch's own float32 kernels are at 2.8 and 2.4 of these, and give infinity above 1.7e38.
  CHECK(largest_error(y, y_exact, exact.abs().clamp_min(std::numeric_limits<float>::min())) < 3 * unit);
  CHECK(largest_error(slope, slope_exact, one) < 3 * unit);
}

TEST_CASE("layer norm is LibTorch's at every scale, and where rows are constant, infinite or NaN", "[closed_form]") {
  torch::manual_seed(2);
  const std::int64_t width = GENERATE(1, 15, 16, 37, 256);
  constexpr float infinity = std::numeric_limits<float>::infinity();
  auto x = torch::randn({40, width}) * torch::logspace(-18, 18, 40).unsqueeze(1).to(torch::kFloat32);
  x = torch::cat({x, torch::full({1, width}, 3.0), torch::zeros({1, width}), torch::full({1, width}, 1e-40),
                  torch::randn({2, width})});
  x[43][0] = infinity;
  x[44][width - 1] = std::numeric_limits<float>::quiet_NaN();
  const auto weight = torch::randn({width}), bias = torch::randn({width}), gradient = torch::randn({x.size(0), width});
  auto normal = torch::empty_like(x), y = torch::empty_like(x), pulled = torch::empty_like(x);
  auto rstd = torch::empty({x.size(0)});

  creditlib::detail::layer_norm_into(x, weight, bias, 1e-5, normal, rstd, y);
  creditlib::detail::layer_norm_pullback_into(gradient, weight, normal, rstd, pulled);

  const auto exact = x.to(torch::kFloat64);
  const auto [y_exact, mean, rstd_exact] =
      at::native_layer_norm(exact, {width}, weight.to(torch::kFloat64), bias.to(torch::kFloat64), 1e-5);
  const auto pulled_exact = std::get<0>(at::native_layer_norm_backward(gradient.to(torch::kFloat64), exact, {width},
                                                                       mean, rstd_exact, weight.to(torch::kFloat64),
                                                                       bias.to(torch::kFloat64), {true, false, false}));
  CHECK(torch::equal(y.isnan(), y_exact.isnan()));
  CHECK(torch::equal(pulled.isnan(), pulled_exact.isnan()));
  const auto whole = torch::ones_like(exact);
  CHECK(largest_error(y, y_exact, whole) < 3e-5);
  // In units of the row's 1 / deviation, as far as eps lets that grow.
  CHECK(largest_error(pulled, pulled_exact, rstd_exact.abs() * whole) < 3e-5);
}

TEST_CASE("layer norm is as exact as LibTorch's own in float32", "[closed_form]") {
  torch::manual_seed(3);
  const std::int64_t width = GENERATE(2, 16, 37, 256, 3000);
  const auto x = torch::randn({200, width}) + torch::linspace(-30, 30, 200).unsqueeze(1);
  const auto gradient = torch::randn({200, width}), weight = torch::randn({width}), bias = torch::randn({width});
  auto normal = torch::empty_like(x), y = torch::empty_like(x), pulled = torch::empty_like(x);
  auto rstd = torch::empty({200});
  creditlib::detail::layer_norm_into(x, weight, bias, 1e-5, normal, rstd, y);
  creditlib::detail::layer_norm_pullback_into(gradient, weight, normal, rstd, pulled);

  struct Results {
    torch::Tensor y, pulled;
  };
  const auto by_libtorch = [&](torch::Dtype dtype) -> Results {
    const auto input = x.to(dtype), gain = weight.to(dtype), shift = bias.to(dtype);
    const auto [out, mean, scale] = at::native_layer_norm(input, {width}, gain, shift, 1e-5);
    return {out, std::get<0>(at::native_layer_norm_backward(gradient.to(dtype), input, {width}, mean, scale, gain,
                                                            shift, {true, false, false}))};
  };
  const auto exact = by_libtorch(torch::kFloat64), theirs = by_libtorch(torch::kFloat32);
  const auto error = [](const torch::Tensor& a, const torch::Tensor& b) { return (a - b).norm().item<double>(); };
  CHECK(error(y, exact.y) < 1.5 * error(theirs.y, exact.y) + 1e-7 * exact.y.norm().item<double>());
  CHECK(error(pulled, exact.pulled) <
        1.5 * error(theirs.pulled, exact.pulled) + 1e-7 * exact.pulled.norm().item<double>());
}

TEST_CASE("layer norm gives NaN where squares overflow, as LibTorch does, and is exact for denormals",
          "[closed_form]") {
  torch::manual_seed(4);
  const std::int64_t width = GENERATE(2, 16, 40);
  auto x = torch::randn({6, width});
  x[0] *= 1e25f;
  x[1] *= 1e36f;
  x[2] *= 3e38f;
  x[3] *= 1e-40f;
  x[4] = 1e-30f * x[4] + 1;
  x[5].fill_(-1e-44f);
  const auto weight = torch::randn({width}), bias = torch::randn({width}), gradient = torch::randn({6, width});
  auto normal = torch::empty_like(x), y = torch::empty_like(x), pulled = torch::empty_like(x);
  auto rstd = torch::empty({6});

  creditlib::detail::layer_norm_into(x, weight, bias, 1e-5, normal, rstd, y);
  creditlib::detail::layer_norm_pullback_into(gradient, weight, normal, rstd, pulled);

  const auto [out, mean, scale] = at::native_layer_norm(x, {width}, weight, bias, 1e-5);
  const auto pulled_out = std::get<0>(
      at::native_layer_norm_backward(gradient, x, {width}, mean, scale, weight, bias, {true, false, false}));
  for (const auto& [ours, theirs] : {std::pair{y, out}, std::pair{pulled, pulled_out}}) {
    CHECK(ours.slice(0, 0, 3).isnan().all().item<bool>());
    CHECK(theirs.slice(0, 0, 3).isnan().all().item<bool>());
    CHECK(at::allclose(ours.slice(0, 3), theirs.slice(0, 3), 1e-5, 1e-3));
  }
}

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
