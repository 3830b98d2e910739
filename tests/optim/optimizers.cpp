// SPDX-License-Identifier: Apache-2.0
#include <creditlib/io/safetensors.hpp>
#include <creditlib/optim/adamw.hpp>
#include <creditlib/optim/rate.hpp>
#include <creditlib/optim/sgd.hpp>
#include <map>
#include <string>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

const std::map<std::string, torch::Tensor>& reference() {
  static const std::map<std::string, torch::Tensor> tensors = [] {
    const auto file = io::read_safetensors(std::string(CREDITLIB_TESTS_DIR) + "/reference/optimizers.safetensors");
    return std::map<std::string, torch::Tensor>(file.tensors.begin(), file.tensors.end());
  }();
  return tensors;
}

/// Ten steps beside torch.optim's, with its rates; the largest distance of a value.
template <class Optimiser>
double from_torch_optim(const std::string& name, torch::Dtype dtype, const typename Optimiser::Options& options) {
  const std::string dtype_name = dtype == torch::kFloat64 ? "float64" : "float32";
  std::map<std::string, torch::Tensor> values;
  std::vector<torch::Tensor> parameters;
  for (const std::string part : {"matrix", "vector"}) {
    values[part] = reference().at("initial." + part).to(dtype).clone().requires_grad_();
    parameters.push_back(values[part]);
  }
  Optimiser optimizer(parameters, options);
  double most = 0;
  for (std::int64_t step = 0; step < 10; ++step) {
    for (auto& [part, value] : values) value.mutable_grad() = reference().at("gradient." + part)[step].to(dtype);
    optimizer.set_lr(reference().at(name + ".rate")[step].item<double>());
    optimizer.step();
    for (const auto& [part, value] : values) {
      const auto expected = reference().at(name + "." + dtype_name + ".after." + part)[step];
      most = std::max(most, (value.detach() - expected).abs().max().template item<double>());
    }
  }
  return most;
}

std::vector<torch::Tensor> two_parameters() { return {torch::ones({2, 3}), torch::ones({4})}; }

}  // namespace

TEST_CASE("AdamW has the numbers of torch.optim.AdamW", "[optim]") {
  CHECK(from_torch_optim<optim::AdamW>("adamw", torch::kFloat64, {.lr = 1e-2, .weight_decay = 0.01}) < 1e-14);
  CHECK(from_torch_optim<optim::AdamW>("adamw", torch::kFloat32, {.lr = 1e-2, .weight_decay = 0.01}) < 2e-6);
  CHECK(from_torch_optim<optim::AdamW>("adamw", torch::kFloat64, {.lr = 1e-2, .weight_decay = 0.02}) > 1e-5);
}

TEST_CASE("SGD has the numbers of torch.optim.SGD", "[optim]") {
  CHECK(from_torch_optim<optim::SGD>("sgd", torch::kFloat64, {.lr = 1e-1, .weight_decay = 0.01, .momentum = 0.9}) <
        1e-13);
  CHECK(from_torch_optim<optim::SGD>("sgd", torch::kFloat32, {.lr = 1e-1, .weight_decay = 0.01, .momentum = 0.9}) <
        1e-5);
  CHECK(from_torch_optim<optim::SGD>("sgd", torch::kFloat64, {.lr = 1e-1, .weight_decay = 0.01, .momentum = 0.8}) >
        1e-3);
}

TEST_CASE("SGD without momentum goes along the gradient", "[optim]") {
  auto parameters = two_parameters();
  optim::SGD optimizer(parameters, {.lr = 0.5, .weight_decay = 0, .momentum = 0});

  for (int i = 0; i < 3; ++i) {
    parameters[0].mutable_grad() = torch::full({2, 3}, 0.25);
    optimizer.step();
  }

  CHECK(torch::equal(parameters[0], torch::full({2, 3}, 1 - 3 * 0.125)));
}

TEST_CASE("cosine rates are CosineAnnealingLR's, and 0 past the end", "[optim]") {
  for (const std::string name : {"adamw", "sgd"}) {
    const auto cosine = reference().at(name + ".cosine");
    REQUIRE(cosine.numel() == 7);
    const double lr = cosine[0].item<double>();

    for (std::int64_t epoch = 0; epoch < 7; ++epoch) {
      CHECK(optim::rate_at(Rate::Cosine, lr, epoch, 6) == Approx(cosine[epoch].item<double>()).margin(1e-16));
      CHECK(optim::rate_at(Rate::Constant, lr, epoch, 6) == lr);
    }
    CHECK(optim::rate_at(Rate::Cosine, lr, 6, 6) == 0);
    CHECK(optim::rate_at(Rate::Cosine, lr, 9, 6) == 0);
    CHECK(optim::rate_at(Rate::Constant, lr, 9, 6) == lr);
  }
}

TEMPLATE_TEST_CASE("an optimiser leaves a parameter without gradient alone, moments and steps included", "[optim]",
                   optim::AdamW, optim::SGD) {
  auto parameters = two_parameters();
  TestType optimizer(parameters);
  const auto state_of_second = [&] {
    std::vector<torch::Tensor> state;
    for (const auto& [name, tensor] : optimizer.named_tensors()) {
      if (name.back() == '1') state.push_back(tensor);
    }
    return copies(state);
  };
  const auto before = state_of_second();
  REQUIRE(!before.empty());

  parameters[0].mutable_grad() = torch::ones({2, 3});
  optimizer.step();

  CHECK_FALSE(torch::equal(parameters[0], torch::ones({2, 3})));
  CHECK(torch::equal(parameters[1], torch::ones({4})));
  CHECK(same(before, state_of_second()));
}

TEMPLATE_TEST_CASE("an optimiser goes on from its named tensors, to the bit", "[optim]", optim::AdamW, optim::SGD) {
  auto parameters = two_parameters(), others = two_parameters();
  TestType optimizer(parameters), resumed(others);
  const auto step = [](auto& with, std::vector<torch::Tensor>& values, double gradient) {
    for (auto& value : values) value.mutable_grad() = torch::full_like(value, gradient);
    with.step();
  };
  for (const double gradient : {0.3, -0.1, 2.0}) step(optimizer, parameters, gradient);
  step(resumed, others, -7);

  const auto from = optimizer.named_tensors();
  auto to = resumed.named_tensors();
  REQUIRE(from.size() == to.size());
  for (std::size_t i = 0; i < from.size(); ++i) {
    CHECK(from[i].first == to[i].first);
    to[i].second.copy_(from[i].second);
  }
  for (std::size_t i = 0; i < 2; ++i) others[i].copy_(parameters[i]);
  step(optimizer, parameters, 0.7);
  step(resumed, others, 0.7);

  CHECK(same(parameters, others));
}

TEMPLATE_TEST_CASE("an optimiser takes gradients and parameters in any memory layout", "[optim]", optim::AdamW,
                   optim::SGD) {
  const auto gradient = torch::arange(6, torch::kFloat32).view({2, 3});
  auto plain = torch::ones({2, 3}), column_major = torch::ones({3, 2}).t();
  TestType first(std::vector<torch::Tensor>{plain}), second(std::vector<torch::Tensor>{column_major});

  for (int i = 0; i < 2; ++i) {
    plain.mutable_grad() = gradient.t().contiguous().t();
    column_major.mutable_grad() = gradient.clone();
    first.step();
    second.step();
  }
  auto expanded = torch::ones({2, 3});
  TestType third(std::vector<torch::Tensor>{expanded});
  expanded.mutable_grad() = torch::ones({1, 3}).expand({2, 3});
  third.step();

  CHECK(torch::equal(plain, column_major));
  CHECK_FALSE(torch::equal(plain[0], plain[1]));
  CHECK(torch::equal(expanded[0], expanded[1]));
}

TEST_CASE("a step without any gradient is nothing", "[optim]") {
  auto parameters = two_parameters();
  optim::AdamW adamw(parameters);
  optim::SGD sgd(parameters);

  adamw.step();
  sgd.step();

  CHECK(torch::equal(parameters[0], torch::ones({2, 3})));
  CHECK(adamw.lr() == 1e-3);
}

TEMPLATE_TEST_CASE("an optimiser refuses a gradient that does not fit its parameter, and changes nothing", "[optim]",
                   optim::AdamW, optim::SGD) {
  auto parameters = two_parameters();
  TestType optimizer(parameters);
  parameters[0].mutable_grad() = torch::ones({2, 3});
  const auto refusal = [&](const torch::Tensor& gradient) {
    parameters[1].mutable_grad() = gradient;
    return error_of([&] { optimizer.step(); });
  };

  CHECK(says(refusal(torch::ones({3})), {"gradient of a parameter is (3) float32", "expected (4) float32 on cpu"}));
  CHECK(says(refusal(torch::ones({4}, torch::kFloat64)), {"is (4) float64", "expected (4) float32"}));
  CHECK(torch::equal(parameters[0], torch::ones({2, 3})));
}
