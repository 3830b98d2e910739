// SPDX-License-Identifier: Apache-2.0
#include <creditlib/objective/cross_entropy.hpp>
#include <limits>

#include "../central_differences.hpp"
#include "../models.hpp"
#include "../sources.hpp"
#include "../test.hpp"
#include "../threads.hpp"

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
  CHECK(says(message(torch::tensor({0, -1, 1})), {"label is -1", "expected 0..3", "CrossEntropy{.ignore_index = -1}"}));
  CHECK(says(message(torch::tensor({0, 255, 1})),
             {"label is 255", "expected 0..3", "CrossEntropy{.ignore_index = 255}"}));
  CHECK(message(torch::tensor({0, 4, 1})).find("ignore_index") == std::string::npos);
  CHECK(says(message(torch::tensor({0, 1})), {"(2)", "expected (3)"}));
  CHECK(says(message(torch::tensor({{0}, {1}, {2}})), {"(3, 1)", "expected (3)"}));
  CHECK(says(message(torch::tensor({0, 1, 2}).to(torch::kInt32)), {"int32", "expected (3) int64"}));
  CHECK(says(message(torch::tensor({0., 1., 2.})), {"float32", "expected (3) int64"}));
  CHECK(says(message(torch::Tensor()), {"undefined"}));
  CHECK(says(message(torch::zeros({3}, torch::TensorOptions(torch::kInt64).device(torch::kMeta))),
             {"on meta", "on cpu"}));
}

TEST_CASE("in float32 cross-entropy and its error are those of float64 to rounding, for any number of classes",
          "[objective]") {
  const std::int64_t classes = GENERATE(2, 10, 15, 16, 17, 37, 1000);
  torch::manual_seed(5);
  const auto logits = torch::randn({64, classes}) * torch::logspace(-30, 2, 64).unsqueeze(1).to(torch::kFloat32);
  const auto labels = torch::randint(classes, {64});
  const auto exact = logits.to(torch::kFloat64);
  const CrossEntropy objective;

  const auto loss = objective.loss(logits, labels), error = objective.error(logits, labels);

  const auto exact_loss = objective.loss(exact, labels), exact_error = objective.error(exact, labels);
  const double unit = std::numeric_limits<float>::epsilon();
  CHECK(((loss - exact_loss) / (1 + exact_loss)).abs().max().item<double>() < 4 * unit);
  CHECK((error - exact_error).abs().max().item<double>() < 4 * unit);
  CHECK(torch::equal(objective.correct(logits, labels), objective.correct(exact, labels)));
  CHECK(loss.scalar_type() == torch::kFloat32);
  CHECK(error.scalar_type() == torch::kFloat32);

  const auto turned = logits.t().contiguous().t();
  const auto apart = torch::stack({labels, labels}, 1).select(1, 0);
  CHECK(distance(objective.loss(turned, apart), loss) < 1e-6);
  CHECK(distance(objective.error(turned, apart), error) < 1e-6);
  CHECK(torch::equal(objective.error(logits, apart), error));
  CHECK(torch::equal(objective.correct(turned, apart), objective.correct(logits, labels)));
}

TEST_CASE("in float32 NaN, infinity and overflow give what they give in LibTorch", "[objective]") {
  constexpr float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::int64_t classes : {3, 16, 20}) {
    auto logits = torch::zeros({10, classes});
    auto row = [&, next = 0](float first, float second, float third) mutable {
      logits[next][0] = first;
      logits[next][1] = second;
      logits[next++][classes - 1] = third;
    };
    row(nan, 1, 2);
    row(1, 2, nan);
    row(infinity, 1, 2);
    row(1, 2, infinity);
    row(-infinity, 1, 2);
    row(1, -infinity, 2);
    row(3e38f, -3e38f, 1);
    row(-3e38f, 3e38f, 1);
    row(200, 1e-40f, -1e-40f);
    logits[9].fill_(-infinity);
    const auto alike = [](const torch::Tensor& a, const torch::Tensor& b) {
      return at::allclose(a, b, 1e-6, 1e-7, true);
    };
    for (const std::int64_t label : {std::int64_t{0}, classes - 1}) {
      const auto labels = torch::full({10}, label);
      CHECK(
          alike(CrossEntropy{}.loss(logits, labels), at::cross_entropy_loss(logits, labels, {}, at::Reduction::None)));
      auto error = logits.softmax(1);
      error.select(1, label).sub_(1);
      CHECK(alike(CrossEntropy{}.error(logits, labels), error));
      CHECK(torch::equal(CrossEntropy{}.correct(logits, labels), logits.argmax(1).eq(labels).sum()));
    }
  }
}

TEST_CASE("of equal logits the first is the largest, and NaN is larger than any", "[objective]") {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  const auto logits = torch::tensor({{1.f, 2.f, 2.f}, {nan, 3.f, nan}, {1.f, 3.f, nan}});
  const auto correct = [&](std::int64_t first, std::int64_t second, std::int64_t third) {
    return CrossEntropy{}.correct(logits, torch::tensor({first, second, third})).item<std::int64_t>();
  };
  CHECK(correct(1, 0, 2) == 3);
  CHECK(correct(2, 2, 1) == 0);
}

TEST_CASE("in float32 cross-entropy stays on the logits' graph", "[objective]") {
  torch::manual_seed(6);
  const auto logits = torch::randn({5, 3}).requires_grad_();
  const auto labels = torch::randint(3, {5});

  const auto loss = CrossEntropy{}.loss(logits, labels);

  REQUIRE(loss.requires_grad());
  loss.sum().backward();
  CHECK(distance(logits.grad(), CrossEntropy{}.error(logits.detach(), labels)) < 1e-6);
}

TEST_CASE("cross-entropy of many logits is the same on several threads", "[objective][threads]") {
  torch::manual_seed(7);
  const auto logits = torch::randn({400, 1000}), labels = torch::randint(1000, {400});
  const auto on = [&](int count) {
    const Threads these(count);
    return std::vector{CrossEntropy{}.loss(logits, labels), CrossEntropy{}.error(logits, labels)};
  };
  CHECK(same(on(3), on(1)));
}

TEST_CASE("classes that do not exist are refused by loss and error themselves", "[objective]") {
  const auto logits = torch::zeros({2, 3});
  for (const std::int64_t label : {-1, 3}) {
    CHECK_THROWS_AS(CrossEntropy{}.loss(logits, torch::tensor({std::int64_t{0}, label})), c10::Error);
    CHECK_THROWS_AS(CrossEntropy{}.error(logits, torch::tensor({std::int64_t{0}, label})), c10::Error);
  }
  CHECK_THROWS_AS(CrossEntropy{}.loss(logits, torch::tensor({0, 1, 2})), c10::Error);
}
