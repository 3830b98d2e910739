// SPDX-License-Identifier: Apache-2.0
#include <creditlib/loss/inner_product.hpp>

#include "../central_differences.hpp"
#include "../hidden_shapes.hpp"
#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

double sum_in_plain_numbers(const torch::Tensor& f, const torch::Tensor& a) {
  const auto x = f.contiguous().view({-1}), y = a.expand_as(f).contiguous().view({-1});
  double sum = 0;
  for (std::int64_t i = 0; i < x.numel(); ++i) sum += x[i].item<double>() * y[i].item<double>();
  return sum;
}

}  // namespace

TEST_CASE("InnerProduct is the batch mean of the inner product, and its closed form its derivative", "[loss]") {
  torch::manual_seed(2);
  for (std::size_t i = 0; i < state_shapes.size(); ++i) {
    for (const bool mean : {false, true}) {
      const auto f = torch::randn(state_shapes[i], torch::kFloat64);
      const double positions = i == 0 ? 1 : i == 1 ? 4 : 8;
      for (const auto& shape : {state_shapes[i], channel_shapes[i]}) {
        const auto a = torch::randn(shape, torch::kFloat64);
        const InnerProduct loss{.mean_over_positions = mean};

        CHECK(loss(f, a).item<double>() == Approx(sum_in_plain_numbers(f, a) / 5 / (mean ? positions : 1)));
        CHECK(loss(f, a).dim() == 0);
        const auto closed = loss.output_gradient(f, a);
        CHECK(closed.sizes() == f.sizes());
        CHECK(from_central_differences([&](const torch::Tensor& g) { return loss(g, a); }, f, closed) < 1e-9);
      }
    }
  }
}
