// SPDX-License-Identifier: Apache-2.0
#include <creditlib/diagnostics/precision_agreement.hpp>
#include <creditlib/objective/squared_error.hpp>

#include "../quadratic.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("float32 gradients agree with float64 ones where they can, and are lost where float32 has no such numbers",
          "[diagnostics]") {
  auto net = quadratic(torch::kFloat32);
  const ModuleState before(*net.model);

  const auto sound = diagnostics::precision_agreement(net.model, net.x, net.y, SquaredError{});

  CHECK(before == ModuleState(*net.model));
  REQUIRE(sound.size() == 3);
  for (const auto& here : sound) {
    CHECK(*here.cosine.value == Approx(1).epsilon(1e-10));
    CHECK(*here.cosine.value != 1);
    CHECK(*here.lost.value == 0);
  }
  // h_0's gradient is 1e-52 in size, below float32's least number, but for one sample of which it is 1e-12.
  const torch::NoGradGuard no_grad;
  for (auto& parameter : net.model->block_parameters(0)) parameter.mul_(1e-30);
  for (auto& parameter : net.model->block_parameters(1)) parameter.mul_(1e-22);
  net.y[4] *= 1e20;
  net.y[4] *= 1e18;
  const auto tiny = diagnostics::precision_agreement(net.model, net.x, net.y, SquaredError{});
  CHECK(*tiny[0].lost.value == Approx(8. / 9));
  CHECK(*tiny[0].cosine.value > 0.9);
  CHECK(*tiny[2].lost.value == 0);
  net.y.zero_();
  CHECK_FALSE(diagnostics::precision_agreement(net.model, net.x * 0, net.y, SquaredError{})[0].lost.value);
  net.model->to(torch::kFloat64);
  CHECK(
      diagnostics::precision_agreement(net.model, net.x.to(torch::kFloat64), net.y, SquaredError{})[0].cosine.reason ==
      "the model is in float64 itself");
}
