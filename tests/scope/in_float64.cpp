// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/scope/in_float64.hpp>

#include "../quadratic.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
using scope::Precision;

TEST_CASE("a network is in float64 within the scope and afterwards as it was, storage and bits", "[scope]") {
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
    const scope::InFloat64 network(*model);
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

TEST_CASE("with Precision::Model a network keeps its dtype", "[scope]") {
  auto model = small_model();
  const scope::InFloat64 network(*model, Precision::Model);

  CHECK(model->parameters()[0].scalar_type() == torch::kFloat32);
}
