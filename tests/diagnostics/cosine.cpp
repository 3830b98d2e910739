// SPDX-License-Identifier: Apache-2.0
#include <creditlib/diagnostics/cosine.hpp>

#include "../models.hpp"
#include "../test.hpp"
#include "written_out.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("a cosine is exact at any scale and has no value where a side has no direction", "[diagnostics]") {
  CHECK(*diagnostics::cosine(numbers({3, 4}), numbers({4, 3})).value == Approx(24. / 25));
  CHECK(*diagnostics::cosine(numbers({3e-200, 4e-200}), numbers({4e200, -3e200})).value == Approx(0).margin(1e-15));
  CHECK(*diagnostics::cosine(numbers({3e-200, 4e-200}), numbers({-3e200, -4e200})).value == Approx(-1));
  CHECK(*diagnostics::cosine(numbers({1, 2, 3, 4}).view({2, 2}), numbers({1, 2, 3, 4})).value == Approx(1));
  CHECK(diagnostics::cosine(numbers({0, 0}), numbers({1, 1})).reason == "one of the two is 0 or not finite");
  CHECK_FALSE(diagnostics::cosine(numbers({0, 0}), numbers({1, 1})).value);
  CHECK_FALSE(diagnostics::cosine(numbers({INFINITY, 0}), numbers({1, 1})).value);
  CHECK_FALSE(diagnostics::cosine(torch::Tensor(), numbers({1, 1})).value);
  CHECK_FALSE(diagnostics::cosine(numbers({}), numbers({})).value);
  CHECK(says(error_of([] { diagnostics::cosine(numbers({1, 2}), numbers({1})); }), {"(2)", "(1)"}));
}

TEST_CASE("the mean pairwise cosine and the variance of vectors are those of all pairs and of the definition",
          "[diagnostics]") {
  torch::manual_seed(2);
  std::vector<torch::Tensor> vectors;
  for (int i = 0; i < 6; ++i) vectors.push_back(torch::randn({2, 4}, torch::kFloat64) * (i + 1) + 1);
  diagnostics::VectorSpread spread;
  for (const auto& v : vectors) spread.add(v);
  double cosines = 0, variance = 0, squares = 0;
  auto mean = torch::zeros({2, 4}, torch::kFloat64);
  for (const auto& v : vectors) mean += v / 6;
  for (int i = 0; i < 6; ++i) {
    const auto u = vectors[i];
    variance += (u - mean).square().sum().item<double>() / 6;
    squares += u.square().sum().item<double>() / 6;
    for (int j = 0; j < i; ++j) {
      cosines += ((u * vectors[j]).sum() / (u.norm() * vectors[j].norm())).item<double>() / 15;
    }
  }

  CHECK(*spread.mean_pairwise_cosine().value == Approx(cosines).epsilon(1e-12));
  CHECK(*diagnostics::mean_pairwise_cosine(vectors).value == Approx(cosines).epsilon(1e-12));
  CHECK(*spread.variance().value == Approx(variance).epsilon(1e-12));
  CHECK(*spread.relative_variance().value == Approx(variance * 6 / 5 / squares).epsilon(1e-12));
  CHECK(spread.count() == 6);
}

TEST_CASE("vectors without a direction, or too few, have no mean pairwise cosine", "[diagnostics]") {
  diagnostics::VectorSpread spread;
  CHECK_FALSE(spread.mean_pairwise_cosine().value);
  CHECK_FALSE(spread.variance().value);
  spread.add(numbers({1, 1}));
  CHECK_FALSE(spread.mean_pairwise_cosine().value);
  CHECK(*spread.variance().value == 0);
  CHECK_FALSE(spread.relative_variance().value);
  spread.add(numbers({0, 0}));
  CHECK(spread.mean_pairwise_cosine().reason == "a vector is 0 or not finite");
  CHECK(*spread.variance().value == Approx(0.5));
  CHECK(says(error_of([&] { spread.add(numbers({1})); }), {"1 numbers", "one of 2"}));
  spread.add(numbers({NAN, 0}));
  CHECK(spread.variance().reason == "a vector is not finite");
  CHECK_FALSE(spread.relative_variance().value);
}
