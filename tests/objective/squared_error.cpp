// SPDX-License-Identifier: Apache-2.0
#include <creditlib/objective/squared_error.hpp>

#include "../central_differences.hpp"
#include "../models.hpp"
#include "../sources.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("squared error is half the squared distance, its error the difference", "[objective]") {
  torch::manual_seed(5);
  const auto logits = torch::randn({5, 3}, torch::kFloat64), target = torch::randn({5, 3}, torch::kFloat64);
  const SquaredError objective;

  for (std::int64_t b = 0; b < 5; ++b) {
    const double norm = (logits[b] - target[b]).norm().item<double>();
    CHECK(objective.loss(logits, target)[b].item<double>() == Approx(norm * norm / 2));
  }
  CHECK(from_central_differences([&](const torch::Tensor& z) { return objective.loss(z, target).sum(); }, logits,
                                 objective.error(logits, target)) < 1e-8);
  CHECK(error_of([&] { objective.check(logits, target); }) == "(nothing was thrown)");
  CHECK(says(error_of([&] { objective.check(logits, target.to(torch::kFloat32)); }),
             {"SquaredError", "float32", "float64"}));
  CHECK(says(error_of([&] { objective.check(logits, target.narrow(1, 0, 2)); }), {"(5, 2)", "expected (5, 3)"}));
  CHECK(says(error_of([&] { objective.check(logits, torch::Tensor()); }), {"undefined"}));
}
