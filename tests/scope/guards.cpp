// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <creditlib/scope/eval_mode.hpp>
#include <creditlib/scope/untouched.hpp>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("tensors are put back bit by bit, and a graph that saved them can still run backward", "[scope]") {
  auto weight = torch::randn({3, 3}).requires_grad_();
  const auto before = weight.detach().clone();
  const auto loss = (weight * weight).sum();

  {
    const scope::RestoredTensors restored({weight, torch::Tensor()});
    weight.data().fill_(7);
  }

  CHECK(torch::equal(weight.detach(), before));
  loss.backward();
  CHECK(distance(weight.grad(), 2 * before) < 1e-6);
}

TEST_CASE("generators draw again after the scope what they drew in it", "[scope]") {
  const auto own = torch::make_generator<at::CPUGeneratorImpl>(5);
  const auto draw = [&] { return at::randn({4}, own, torch::TensorOptions(torch::kFloat32)); };
  torch::Tensor within;

  {
    const scope::RestoredGenerators restored({own});
    within = draw();
  }

  CHECK(torch::equal(within, draw()));
  CHECK_FALSE(torch::equal(within, draw()));
}

TEST_CASE("a forward pass leaves neither running statistics nor masks drawn in the scope of Untouched", "[scope]") {
  for (const auto kind : {Kind::batch_norm, Kind::dropout}) {
    INFO("on " << name(kind));
    auto model = stages(kind);
    const auto batch = batch_for(kind);
    const auto buffers = copies(model->buffers());
    const auto generator = global_generator_state();

    {
      const scope::Untouched untouched(*model, torch::kCPU);
      model->forward(batch.x);
    }

    CHECK(same(buffers, copies(model->buffers())));
    CHECK(torch::equal(generator, global_generator_state()));
    model->forward(batch.x);
    const bool moved = !same(buffers, copies(model->buffers())) || !torch::equal(generator, global_generator_state());
    CHECK(moved);
  }
}

TEST_CASE("each module is back in the mode that it was in, after eval mode", "[scope]") {
  auto model = stages(Kind::batch_norm);
  model->train();
  model->children().front()->eval();
  const auto modes = [&] {
    std::vector<bool> training;
    for (const auto& module : model->modules()) training.push_back(module->is_training());
    return training;
  };
  const auto before = modes();

  {
    const scope::EvalMode eval(*model);
    CHECK(modes() == std::vector<bool>(before.size(), false));
  }

  CHECK(modes() == before);
  CHECK(std::count(before.begin(), before.end(), false) > 0);
  CHECK(std::count(before.begin(), before.end(), true) > 0);
}
