// SPDX-License-Identifier: Apache-2.0
#include <creditlib/loss/penalized_inner_product.hpp>
#include <limits>

#include "../central_differences.hpp"
#include "../hidden_shapes.hpp"
#include "../models.hpp"
#include "../sources.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("PenalizedInnerProduct adds lambda times the batch mean of the branch's squared norm", "[loss]") {
  torch::manual_seed(3);
  for (std::size_t i = 0; i < state_shapes.size(); ++i) {
    for (const bool mean : {false, true}) {
      const auto f = torch::randn(state_shapes[i], torch::kFloat64);
      for (const auto& shape : {state_shapes[i], channel_shapes[i]}) {
        const auto a = torch::randn(shape, torch::kFloat64);
        const PenalizedInnerProduct loss{.lambda = 0.3, .mean_over_positions = mean};
        const InnerProduct inner{.mean_over_positions = mean};

        const double squared = f.square().sum().item<double>() / 5 / (mean ? (i == 0 ? 1 : i == 1 ? 4 : 8) : 1);
        CHECK(loss(f, a).item<double>() == Approx(inner(f, a).item<double>() + 0.3 * squared));
        const auto closed = loss.output_gradient(f, a);
        CHECK(closed.sizes() == f.sizes());
        CHECK(from_central_differences([&](const torch::Tensor& g) { return loss(g, a); }, f, closed) < 1e-8);
        CHECK(loss.embed_loss().mean_over_positions == mean);
      }
    }
  }
  CHECK(PenalizedInnerProduct{}.lambda == 1e-2);
  for (const double lambda :
       {-0.1, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    const PenalizedInnerProduct wrong{.lambda = lambda};
    const auto f = torch::ones({2, 3});
    CHECK(error_of([&] { wrong(f, f); }).find("PenalizedInnerProduct: lambda is ") != std::string::npos);
    CHECK(error_of([&] { wrong.output_gradient(f, f); }).find("expected a finite number >= 0") != std::string::npos);
  }
}

TEST_CASE("the penalised loss of unit credit is least at a branch of the norm that its page says", "[loss]") {
  const auto a = plain_unit_rms(torch::randn({4, 9}, torch::kFloat64), 0);
  const PenalizedInnerProduct loss{.lambda = 0.25};

  const auto least = -a / (2 * 0.25);

  CHECK(loss.output_gradient(least, a).abs().max().item<double>() < 1e-15);
  CHECK(distance(least.norm(2, 1), torch::full({4}, 3 / (2 * 0.25), torch::kFloat64)) < 1e-12);
}
