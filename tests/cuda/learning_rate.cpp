// SPDX-License-Identifier: Apache-2.0
#include <creditlib/optim/adamw.hpp>
#include <creditlib/optim/detail/learning_rate.hpp>
#include <creditlib/optim/sgd.hpp>
#include <type_traits>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

std::vector<torch::Tensor> two_parameters() { return {torch::linspace(-1, 1, 6).view({2, 3}), torch::ones({4})}; }

/// Ten steps at rates that change; what comes of the parameters.
template <class Optimiser>
std::vector<torch::Tensor> ten_steps(const typename Optimiser::Options& options, double last_rate = 0.25) {
  auto parameters = two_parameters();
  Optimiser optimizer(parameters, options);
  for (int step = 0; step < 10; ++step) {
    for (auto& parameter : parameters) parameter.mutable_grad() = parameter.sin() + 0.1 * step;
    optimizer.set_lr(step < 5 ? 0.5 : last_rate);  // both are the same number in float32
    optimizer.step();
  }
  CHECK(optimizer.lr() == last_rate);
  return parameters;
}

bool is_tensor(const creditlib::detail::LearningRate& rate) {
  bool tensor = false;
  rate.pass_to([&](const auto& lr) { tensor = std::is_same_v<std::decay_t<decltype(lr)>, torch::Tensor>; });
  return tensor;
}

}  // namespace

TEMPLATE_TEST_CASE("an optimiser has the same numbers, to the bit, with its rate in a tensor", "[optim][cuda]",
                   optim::AdamW, optim::SGD) {
  typename TestType::Options in_tensor;
  in_tensor.lr_in_tensor = true;

  const auto expected = ten_steps<TestType>({});

  CHECK(same(ten_steps<TestType>(in_tensor), expected));
  CHECK_FALSE(same(ten_steps<TestType>(in_tensor, 0.125), expected));
}

TEST_CASE("SGD without momentum takes a rate in a tensor too", "[optim][cuda]") {
  CHECK(same(ten_steps<optim::SGD>({.momentum = 0, .lr_in_tensor = true}), ten_steps<optim::SGD>({.momentum = 0})));
}

TEST_CASE("a learning rate is a number on the CPU and a float32 tensor on the parameters' device elsewhere",
          "[optim][cuda]") {
  const creditlib::detail::LearningRate on_cpu(0.1, {torch::ones({2})}, false), without_parameters(0.1, {}, false),
      asked_for(0.1, {torch::ones({2})}, true);
  const creditlib::detail::LearningRate elsewhere(
      0.1, {torch::ones({2}, torch::TensorOptions(torch::kFloat64).device(torch::kMeta))}, false);

  CHECK_FALSE(is_tensor(on_cpu));
  CHECK_FALSE(is_tensor(without_parameters));
  CHECK(is_tensor(asked_for));
  REQUIRE(is_tensor(elsewhere));
  elsewhere.pass_to([](const auto& lr) {
    if constexpr (std::is_same_v<std::decay_t<decltype(lr)>, torch::Tensor>) {
      CHECK(lr.device().is_meta());
      CHECK(lr.scalar_type() == torch::kFloat32);
      CHECK(lr.dim() == 0);
    }
  });
}

TEST_CASE("setting a learning rate writes into the same tensor", "[optim][cuda]") {
  creditlib::detail::LearningRate rate(0.5, {torch::ones({2})}, true);
  torch::Tensor seen;
  const auto look = [&](const auto& lr) {
    if constexpr (std::is_same_v<std::decay_t<decltype(lr)>, torch::Tensor>) seen = lr;
  };
  rate.pass_to(look);
  const auto captured = seen;

  rate.set(0.25);
  rate.pass_to(look);

  CHECK(rate.value() == 0.25);
  CHECK(captured.item<double>() == 0.25);
  CHECK(seen.is_same(captured));
}
