// SPDX-License-Identifier: Apache-2.0
#include "../examples/weight_transport/angle.hpp"
#include "../examples/weight_transport/objective.hpp"
#include "models.hpp"
#include "test.hpp"

using creditlib::test::error_of;
using creditlib::test::says;
using weight_transport::angle;
using weight_transport::OneAgainstOthers;

TEST_CASE("The angle between tensors is that of vectors, whatever their length") {
  const auto of = [](std::vector<double> a, std::vector<double> b) {
    return angle(torch::tensor(a, torch::kFloat64), torch::tensor(b, torch::kFloat64)).value.value();
  };
  REQUIRE(of({1, 0}, {0, 3}) == Approx(90));
  REQUIRE(of({1, 0}, {1, 1}) == Approx(45));
  REQUIRE(of({1, 0, 0}, {-1, 0, std::sqrt(3.0)}) == Approx(120));
  REQUIRE(of({1, -2}, {-1, 2}) == Approx(180));
  REQUIRE(of({1, 2, 3}, {1, 2, 3}) == 0);
  REQUIRE(of({1e-200, 2e-200}, {2e200, 1e200}) == Approx(of({1, 2}, {2, 1})));
  // An angle whose cosine is 1 in float64.
  REQUIRE(of({1, 0}, {1, 1e-9}) == Approx(1e-9 * 180 / 3.14159265358979).epsilon(1e-6));
  // Shapes do not matter, numbers do.
  torch::manual_seed(1);
  const auto a = torch::randn({3, 4, 5});
  REQUIRE(angle(a, (2 * a).reshape({12, 5})).value.value() < 1e-9);
}

TEST_CASE("A tensor of zeros has no angle, and tensors of other sizes are refused") {
  const auto none = angle(torch::zeros({2, 2}), torch::ones({2, 2}));
  REQUIRE(!none.value);
  REQUIRE(says(none.reason, {"is 0"}));
  REQUIRE(!angle(torch::full({2}, NAN), torch::ones({2})).value);
  REQUIRE(says(error_of([] { angle(torch::ones({2}), torch::ones({3})); }), {"(2)", "(3)", "the same number"}));
}

TEST_CASE("One class against the others: each logit's binary cross-entropy, summed, and its gradient") {
  torch::manual_seed(2);
  const auto logits = torch::randn({4, 3}, torch::kFloat64).requires_grad_();
  const auto label = torch::tensor({2, 0, 1, 1}, torch::kInt64);
  const auto loss = OneAgainstOthers{}.loss(logits, label);
  REQUIRE(loss.sizes() == torch::IntArrayRef{4});
  for (int i = 0; i < 4; ++i) {
    double expected = 0;
    for (int c = 0; c < 3; ++c) {
      const double p = 1 / (1 + std::exp(-logits[i][c].item<double>()));
      expected -= std::log(label[i].item<std::int64_t>() == c ? p : 1 - p);
    }
    REQUIRE(loss[i].item<double>() == Approx(expected));
  }
  loss.sum().backward();
  REQUIRE(OneAgainstOthers{}.error(logits.detach(), label).allclose(logits.grad(), 1e-12, 1e-14));
  REQUIRE(OneAgainstOthers{}.correct(logits.detach(), logits.argmax(1)).item<std::int64_t>() == 4);
  REQUIRE(says(error_of([&] { OneAgainstOthers{}.check(logits, torch::tensor({0, 1, 2, 3}, torch::kInt64)); }),
               {"label", "3"}));
}
