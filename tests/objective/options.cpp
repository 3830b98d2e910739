// SPDX-License-Identifier: Apache-2.0
#include <creditlib/objective/binary_cross_entropy.hpp>
#include <creditlib/objective/cross_entropy.hpp>
#include <creditlib/objective/smooth_l1.hpp>
#include <creditlib/objective/squared_error.hpp>

#include "../central_differences.hpp"
#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Logits with classes last, (B, N, C), as PyTorch takes them, (B, C, N).
torch::Tensor pytorch_order(const torch::Tensor& logits) { return logits.dim() == 3 ? logits.transpose(1, 2) : logits; }

torch::Tensor labels_like(const torch::Tensor& logits) {
  auto sizes = logits.sizes().vec();
  sizes.erase(sizes.begin() + (sizes.size() == 3 ? 2 : 1));
  return torch::randint(5, sizes);
}

/// The error is the derivative of the losses' sum.
template <class Objective>
void check_error(const Objective& objective, const torch::Tensor& logits, const torch::Tensor& target) {
  CHECK(error_of([&] { objective.check(logits, target); }) == "(nothing was thrown)");
  CHECK(objective.loss(logits, target).sizes() == torch::IntArrayRef({logits.size(0)}));
  const auto error = objective.error(logits, target);
  CHECK(error.sizes() == logits.sizes());
  CHECK(from_central_differences([&](const torch::Tensor& z) { return objective.loss(z, target).sum(); }, logits,
                                 error) < 1e-7);
}

const std::vector<std::vector<std::int64_t>> every_shape{{6, 5}, {3, 4, 5}, {3, 5, 2, 4}};

}  // namespace

TEST_CASE("cross-entropy's mean is PyTorch's, with every option and on every shape", "[objective]") {
  torch::manual_seed(7);
  for (const auto& shape : every_shape) {
    CAPTURE(shape);
    const auto logits = torch::randn(shape, torch::kFloat64) * 2;
    const auto weight = torch::rand({5}, torch::kFloat64) + 0.1;
    auto target = labels_like(logits);
    target.view(-1)[0] = -100;
    target.view(-1)[5] = -100;
    for (const double smoothing : {0.0, 0.3}) {
      for (const auto& weights : {torch::Tensor(), weight}) {
        const CrossEntropy objective{.label_smoothing = smoothing, .weight = weights};
        const auto expected =
            at::cross_entropy_loss(pytorch_order(logits), target, weights, at::Reduction::Mean, -100, smoothing);
        CHECK(objective.loss(logits, target).mean().item<double>() == Approx(expected.item<double>()).epsilon(1e-12));
        check_error(objective, logits, target);

        const auto soft = torch::randn(shape, torch::kFloat64).softmax(shape.size() == 3 ? 2 : 1);
        const auto of_soft = at::cross_entropy_loss(pytorch_order(logits), pytorch_order(soft), weights,
                                                    at::Reduction::Mean, -100, smoothing);
        CHECK(objective.loss(logits, soft).mean().item<double>() == Approx(of_soft.item<double>()).epsilon(1e-12));
        check_error(objective, logits, soft);
      }
    }
    const CrossEntropy sum{.sum_over_positions = true};
    CHECK(sum.loss(logits, target).sum().item<double>() ==
          Approx(at::cross_entropy_loss(pytorch_order(logits), target, {}, at::Reduction::Sum).item<double>()));
    check_error(sum, logits, target);
  }
}

TEST_CASE("targets that do not count have no loss and no error, and are not right", "[objective]") {
  const auto logits = torch::tensor({{3., 1.}, {0., 2.}, {1., 0.}}, torch::kFloat64);
  const auto target = torch::tensor({0, -100, 1});
  const CrossEntropy objective;
  CHECK(objective.loss(logits, target)[1].item<double>() == 0);
  CHECK(objective.error(logits, target)[1].abs().sum().item<double>() == 0);
  CHECK(objective.correct(logits, target).item<std::int64_t>() == 1);
  const auto none = torch::tensor({-100, -100, -100});
  CHECK(objective.loss(logits, none).sum().item<double>() == 0);
  CHECK(objective.error(logits, none).abs().sum().item<double>() == 0);
  CHECK(CrossEntropy{.ignore_index = 1}.loss(logits, torch::tensor({0, 1, 1})).gt(0).sum().item<int>() == 1);
}

TEST_CASE("a sample's loss is the mean over its positions", "[objective]") {
  torch::manual_seed(8);
  const auto logits = torch::randn({3, 4, 5}, torch::kFloat64);
  const auto target = torch::randint(5, {3, 4});
  const auto each = at::cross_entropy_loss(logits.transpose(1, 2), target, {}, at::Reduction::None);
  CHECK(torch::allclose(CrossEntropy{}.loss(logits, target), each.mean(1), 1e-12));
  CHECK(CrossEntropy{}.correct(logits, target).item<std::int64_t>() ==
        logits.argmax(2).eq(target).sum().item<std::int64_t>());
}

TEST_CASE("cross-entropy refuses what its options and shapes do not allow", "[objective]") {
  const auto message = [](const CrossEntropy& objective, const torch::Tensor& logits, const torch::Tensor& target) {
    return error_of([&] { objective.check(logits, target); });
  };
  const auto logits = torch::zeros({2, 3, 4});
  const auto target = torch::zeros({2, 3}, torch::kInt64);
  CHECK(says(message({}, logits, torch::zeros({2}, torch::kInt64)), {"expected (2, 3) int64", "per position"}));
  CHECK(says(message({}, logits, target - 1), {"a label is -1", "expected 0..3", "-100"}));
  CHECK(says(message({.label_smoothing = 1.5}, logits, target), {"label_smoothing is 1.5"}));
  CHECK(says(message({.weight = torch::ones({3})}, logits, target), {"weight is (3)", "expected (4)"}));
  CHECK(says(message({}, logits, torch::zeros({2, 4, 3})), {"(2, 4, 3)", "(2, 3, 4)", "distribution"}));
  CHECK(says(message({}, torch::zeros({2, 1}), torch::zeros({2}, torch::kInt64)), {"one output", "SquaredError"}));
}

TEST_CASE("binary cross-entropy and the smooth L1 distance are PyTorch's", "[objective]") {
  torch::manual_seed(9);
  for (const auto& shape : every_shape) {
    CAPTURE(shape);
    const auto logits = torch::randn(shape, torch::kFloat64) * 2;
    const auto target = torch::rand(shape, torch::kFloat64);
    CHECK(BinaryCrossEntropy{}.loss(logits, target).mean().item<double>() ==
          Approx(at::binary_cross_entropy_with_logits(logits, target).item<double>()));
    check_error(BinaryCrossEntropy{}, logits, target);
    for (const double beta : {1.0, 0.4}) {
      CHECK(SmoothL1{.beta = beta}.loss(logits, target).mean().item<double>() ==
            Approx(at::smooth_l1_loss(logits, target, at::Reduction::Mean, beta).item<double>()));
      check_error(SmoothL1{.beta = beta}, logits, target);
    }
    check_error(SquaredError{}, logits, target);
  }
  const auto logits = torch::zeros({2, 3}), target = torch::zeros({2, 3});
  CHECK(says(error_of([&] { BinaryCrossEntropy{}.check(logits, target + 2); }), {"a target is 2", "0 to 1"}));
  CHECK(says(error_of([&] { SmoothL1{.beta = 0}.check(logits, target); }), {"beta is 0"}));
  CHECK(says(error_of([&] { SmoothL1{}.check(logits, target.to(torch::kFloat64)); }), {"SmoothL1: the target is"}));
}
