// SPDX-License-Identifier: Apache-2.0
#include <creditlib/objective/cross_entropy.hpp>

#include "../central_differences.hpp"
#include "../models.hpp"
#include "../sources.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("cross-entropy is that of each sample, its error the derivative in the logits", "[objective]") {
  torch::manual_seed(4);
  const auto logits = torch::randn({5, 3}, torch::kFloat64) * 3;
  const auto labels = torch::tensor({0, 2, 1, 1, 0});
  const CrossEntropy objective;

  const auto loss = objective.loss(logits, labels);
  REQUIRE(loss.sizes() == torch::IntArrayRef({5}));
  for (std::int64_t b = 0; b < 5; ++b) {
    double sum = 0;
    for (std::int64_t c = 0; c < 3; ++c) sum += std::exp(logits[b][c].item<double>());
    CHECK(loss[b].item<double>() == Approx(std::log(sum) - logits[b][labels[b].item<std::int64_t>()].item<double>()));
  }
  const auto before = logits.clone();
  CHECK(distance(objective.error(logits, labels), plain_error(logits, labels)) < 1e-14);
  CHECK(torch::equal(logits, before));
  CHECK(from_central_differences([&](const torch::Tensor& z) { return objective.loss(z, labels).sum(); }, logits,
                                 objective.error(logits, labels)) < 1e-8);
  CHECK(objective.correct(torch::tensor({{3., 1., 2.}, {0., 5., 1.}, {0., 0., 1.}}), torch::tensor({0, 0, 2}))
            .item<std::int64_t>() == 2);
}

TEST_CASE("cross-entropy takes large logits", "[objective]") {
  const auto logits = torch::tensor({{1000., 0.}, {0., 1000.}}), labels = torch::tensor({0, 0});

  CHECK(torch::equal(CrossEntropy{}.error(logits, labels), torch::tensor({{0., 0.}, {-1., 1.}})));
  CHECK(torch::equal(CrossEntropy{}.loss(logits, labels), torch::tensor({0., 1000.})));
}

TEST_CASE("cross-entropy refuses labels that do not fit, and says what they are", "[objective]") {
  const auto logits = torch::zeros({3, 4});
  const auto message = [&](const torch::Tensor& target) {
    return error_of([&] { CrossEntropy{}.check(logits, target); });
  };

  CHECK(message(torch::tensor({0, 3, 1})) == "(nothing was thrown)");
  CHECK(says(message(torch::tensor({0, 4, 1})), {"label is 4", "expected 0..3"}));
  CHECK(says(message(torch::tensor({0, -1, 1})), {"label is -1", "expected 0..3"}));
  CHECK(says(message(torch::tensor({0, 1})), {"(2)", "expected (3)"}));
  CHECK(says(message(torch::tensor({{0}, {1}, {2}})), {"(3, 1)", "expected (3)"}));
  CHECK(says(message(torch::tensor({0, 1, 2}).to(torch::kInt32)), {"int32", "expected (3) int64"}));
  CHECK(says(message(torch::tensor({0., 1., 2.})), {"float32", "expected (3) int64"}));
  CHECK(says(message(torch::Tensor()), {"undefined"}));
  CHECK(says(message(torch::zeros({3}, torch::TensorOptions(torch::kInt64).device(torch::kMeta))),
             {"on meta", "on cpu"}));
}
