// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <creditlib/data/standardize.hpp>

#include "../io/files.hpp"

using namespace creditlib;
using creditlib::test::check_error;

TEST_CASE("standardized training rows have mean 0 and deviation 1; others go by the same numbers", "[data]") {
  const auto train = torch::tensor({{1., 10., 0.1}, {3., 30., 0.1}, {5., 50., 0.1}}, torch::kFloat64);
  const data::Standardize standardize(train);

  const auto x = standardize(train);
  CHECK(torch::allclose(standardize.mean(), torch::tensor({3., 30., 0.1}, torch::kFloat64)));
  CHECK(standardize.deviation()[0].item<double>() == Approx(std::sqrt(8. / 3)));
  CHECK(standardize.deviation()[2].item<double>() == 1);
  CHECK(torch::allclose(x.mean(0), torch::zeros({3}, torch::kFloat64), 0, 1e-12));
  CHECK(torch::allclose(x.square().mean(0), torch::tensor({1., 1., 0.}, torch::kFloat64)));
  CHECK(torch::allclose(standardize.inverse(x), train));

  const auto test = standardize(torch::tensor({7.f, 70.f, 0.1f}));
  CHECK(test.scalar_type() == torch::kFloat32);
  CHECK(test[0].item<double>() == Approx(4 / std::sqrt(8. / 3)));
  CHECK(std::abs(test[2].item<double>()) < 1e-6);
}

TEST_CASE("rows that cannot be standardized are refused", "[data]") {
  const auto rows = torch::tensor({{1., 2.}, {3., static_cast<double>(NAN)}}, torch::kFloat64);

  check_error([&] { data::Standardize{rows}; }, {"row 1, column 1 is not finite"});
  check_error([] { data::Standardize{torch::zeros({0, 2})}; }, {"rows are (0, 2)"});
  check_error([] { data::Standardize{torch::zeros({2})}; }, {"rows are (2)", "(N, columns)"});
  check_error([] { data::Standardize{torch::zeros({2, 2}, torch::kInt64)}; }, {"int64", "floating-point"});
  check_error([] { data::Standardize{torch::Tensor()}; }, {"undefined"});
  const data::Standardize standardize(torch::ones({2, 3}));
  check_error([&] { standardize(torch::ones({2, 4})); }, {"rows are (2, 4)", "(..., 3)"});
  check_error([&] { standardize.inverse(torch::ones({2, 1})); }, {"rows are (2, 1)", "(..., 3)"});
}
