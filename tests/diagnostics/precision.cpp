#include <creditlib/credit/dfa.hpp>
#include <creditlib/scope/in_float64.hpp>
#include <creditlib/diagnostics/precision_agreement.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/objective/squared_error.hpp>

#include "../quadratic.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
using diagnostics::Precision;

TEST_CASE("a network is in float64 within the scope and afterwards as it was, storage and bits", "[diagnostics]") {
  auto model = stages(Kind::batch_norm);
  for (auto& buffer : model->buffers()) {
    if (buffer.dim() == 0) buffer.set_data(buffer.to(torch::kInt64));  // as BatchNorm counts before .to(dtype)
  }
  const auto batch = batch_for(Kind::batch_norm);
  LocalTrainer trainer(model, DFA{}, {.seed = 3});
  trainer.step(batch.x, batch.y);
  model->eval();
  const ModuleState before(*model);
  const auto gradients = gradients_of(*model);

  {
    const diagnostics::InFloat64 network(*model);
    for (const auto& parameter : model->parameters()) CHECK(parameter.scalar_type() == torch::kFloat64);
    for (const auto& buffer : model->buffers()) {
      CHECK(buffer.scalar_type() == (buffer.dim() ? torch::kFloat64 : torch::kInt64));
    }
    CHECK(model->forward(batch.x.to(torch::kFloat64)).scalar_type() == torch::kFloat64);
  }

  CHECK(before.tensors.size() > 10);
  CHECK(before == ModuleState(*model));
  CHECK(same(gradients, gradients_of(*model)));
  trainer.step(batch.x, batch.y);
  CHECK_FALSE(before == ModuleState(*model));
}

TEST_CASE("with Precision::Model a network keeps its dtype", "[diagnostics]") {
  auto model = small_model();
  const diagnostics::InFloat64 network(*model, Precision::Model);

  CHECK(model->parameters()[0].scalar_type() == torch::kFloat32);
}

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
