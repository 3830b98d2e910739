// SPDX-License-Identifier: Apache-2.0
// The library's loops over rows against plain code in float64. The program is compiled for each instruction set, since the
// library chooses one when a program starts, and a test elsewhere runs the processor's best alone. Exit code 1 if a number
// is wrong; 77 if the processor lacks the instructions.
#define CREDITLIB_DETAIL_FOR_EACH_CPU  // this file is compiled for one
#include <algorithm>
#include <bit>
#include <cmath>
#include <creditlib/closed_form/detail/gelu_rows.hpp>
#include <creditlib/closed_form/detail/layer_norm_rows.hpp>
#include <creditlib/detail/factored_rows.hpp>
#include <creditlib/normalizer/detail/rms_rows.hpp>
#include <creditlib/objective/detail/cross_entropy_rows.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <random>
#include <vector>

namespace {

namespace rows = creditlib::detail::rows;
using Row = std::vector<float>;
using Exact = std::vector<double>;

constexpr double unit = std::numeric_limits<float>::epsilon();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();
const std::vector<std::size_t> widths{1, 2, 15, 16, 17, 40, 256, 1000};
int wrong = 0;

/// Complains unless |a - b| <= most (1 + |b|) for all.
void expect_near(const char* what, std::size_t width, const Row& a, const Exact& b, double most) {
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double error = std::abs(static_cast<double>(a[i]) - b[i]) / (1 + std::abs(b[i]));
    worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(worst, error);
  }
  if (a.size() == b.size() && worst <= most) return;
  std::printf("%s, width %zu: an error of %g, expected at most %g\n", what, width, worst, most);
  ++wrong;
}
void expect(const char* what, bool holds) {
  if (holds) return;
  std::printf("%s\n", what);
  ++wrong;
}

Row draw(std::size_t count, float mean = 0) {
  static std::mt19937 generator(5);
  std::normal_distribution<float> normal(mean, 1);
  Row row(count);
  for (auto& v : row) v = normal(generator);
  return row;
}
std::int64_t size(std::size_t count) { return static_cast<std::int64_t>(count); }

void layer_norm(std::size_t width) {
  const std::size_t count = 3;
  const auto x = draw(count * width, 2), weight = draw(width), bias = draw(width), gradient = draw(count * width);
  Row normal(x.size()), rstd(count), y(x.size()), pulled(x.size()), bare(x.size());
  rows::layer_norm(x.data(), weight.data(), bias.data(), 1e-5f, size(count), size(width), normal.data(), rstd.data(),
                   y.data());
  rows::layer_norm_pullback(gradient.data(), weight.data(), normal.data(), rstd.data(), size(count), size(width),
                            pulled.data());
  rows::layer_norm(x.data(), nullptr, nullptr, 1e-5f, size(count), size(width), bare.data(), rstd.data(), bare.data());

  Exact z(x.size()), out(x.size()), back(x.size());
  const auto n = static_cast<double>(width);
  for (std::size_t row = 0; row < count; ++row) {
    const auto at = row * width;
    double mean = 0, square = 0, total = 0, along = 0;
    for (std::size_t i = 0; i < width; ++i) mean += x[at + i] / n;
    for (std::size_t i = 0; i < width; ++i) square += (x[at + i] - mean) * (x[at + i] - mean) / n;
    const double scale = 1 / std::sqrt(square + 1e-5);
    for (std::size_t i = 0; i < width; ++i) {
      z[at + i] = (x[at + i] - mean) * scale;
      out[at + i] = z[at + i] * weight[i] + bias[i];
      total += double{gradient[at + i]} * weight[i] / n;
      along += double{gradient[at + i]} * weight[i] * z[at + i] / n;
    }
    for (std::size_t i = 0; i < width; ++i)
      back[at + i] = (double{gradient[at + i]} * weight[i] - total - z[at + i] * along) * scale;
  }
  expect_near("normalized rows", width, normal, z, 40 * unit);
  expect_near("normalized rows without affine part", width, bare, z, 40 * unit);
  expect_near("layer norm", width, y, out, 40 * unit);
  expect_near("layer norm's pullback", width, pulled, back, width == 1 ? 1e-3 : 200 * unit);  // 1: all cancels
}

void gelu() {
  Row x;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 65537)
    x.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  Row y(x.size()), slope(x.size());
  rows::gelu(x.data(), size(x.size()), y.data(), slope.data());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v = x[i];
    if (std::isnan(v)) {
      expect("GELU of NaN is not NaN", std::isnan(y[i]) && std::isnan(slope[i]));
    } else if (std::isfinite(v)) {
      const double below = 0.5 * std::erfc(-v * std::sqrt(0.5)), density = std::exp(-v * v / 2) * 0.3989422804014327;
      const double scale = std::max(std::abs(v), 1e-37);
      expect("GELU is wrong", std::abs(y[i] - v * below) <= 3 * unit * scale);
      expect("GELU's slope is wrong", std::abs(slope[i] - (below + v * density)) <= 3 * unit);
    }
  }
}

void cross_entropy(std::size_t classes) {
  const std::size_t count = 4;
  auto logits = draw(count * classes);
  std::vector<std::int64_t> labels;
  for (std::size_t row = 0; row < count; ++row) labels.push_back(size(row * 7 % classes));
  Row losses(count), errors(logits.size());
  rows::cross_entropy(logits.data(), labels.data(), size(count), size(classes), losses.data(), nullptr);
  rows::cross_entropy(logits.data(), labels.data(), size(count), size(classes), nullptr, errors.data());

  Exact exact_losses(count), exact_errors(logits.size());
  std::int64_t correct = 0;
  for (std::size_t row = 0; row < count; ++row) {
    const auto at = row * classes, label = at + static_cast<std::size_t>(labels[row]);
    double all = 0;
    bool largest = true;
    for (std::size_t c = at; c < at + classes; ++c) {
      all += std::exp(double{logits[c]});
      largest = largest && logits[c] <= logits[label];
    }
    correct += largest;
    exact_losses[row] = std::log(all) - logits[label];
    for (std::size_t c = at; c < at + classes; ++c)
      exact_errors[c] = std::exp(double{logits[c]}) / all - (c == label ? 1 : 0);
  }
  expect_near("cross-entropy", classes, losses, exact_losses, 8 * unit);
  expect_near("cross-entropy's error", classes, errors, exact_errors, 4 * unit);
  expect("correct classes are miscounted",
         rows::count_correct(logits.data(), labels.data(), size(count), size(classes)) == correct);
  logits[classes - 1] = nan;
  rows::cross_entropy(logits.data(), labels.data(), size(count), size(classes), losses.data(), errors.data());
  expect("NaN does not spread over its row, or beyond it",
         std::isnan(losses[0]) && std::isnan(errors[0]) && !std::isnan(losses[1]));
}

void rms(std::size_t width) {
  const std::size_t count = 3, rank = std::min<std::size_t>(width, 40);
  const auto a = draw(count * width), left = draw(count * rank), right = draw(width * rank);
  Row out(a.size()), squares(count);
  rows::unit_rms(a.data(), size(count), size(width), 1e-6f, out.data());
  rows::factored_squares(left.data(), right.data(), size(count), size(width), size(rank), squares.data());
  Exact exact(a.size()), exact_squares(count), exact_inverse;
  for (std::size_t row = 0; row < count; ++row) {
    double square = 0;
    for (std::size_t i = 0; i < width; ++i) {
      square += double{a[row * width + i]} * a[row * width + i] / static_cast<double>(width);
      double product = 0;
      for (std::size_t r = 0; r < rank; ++r) product += double{left[row * rank + r]} * right[i * rank + r];
      exact_squares[row] += product * product;
    }
    for (std::size_t i = 0; i < width; ++i) exact[row * width + i] = a[row * width + i] / (std::sqrt(square) + 1e-6);
    exact_inverse.push_back(1 / (std::sqrt(exact_squares[row] / static_cast<double>(width)) * 2 + 0.1));
  }
  expect_near("rows over their RMS", width, out, exact, 4 * unit);
  expect_near("squares of factored rows", width, squares, exact_squares, 40 * unit);
  const Row scales(count, -2);
  rows::inverse_rms(squares.data(), scales.data(), size(count), size(width), 0.1f);
  expect_near("1 / RMS of factored rows", width, squares, exact_inverse, 40 * unit);
}

}  // namespace

int main() {
#if defined(__AVX512F__)
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl"))
    return 77;
#elif defined(__AVX2__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 77;
#endif
  gelu();
  for (const auto width : widths) {
    layer_norm(width);
    rms(width);
    if (width > 1) cross_entropy(width);
  }
  return wrong == 0 ? 0 : 1;
}
