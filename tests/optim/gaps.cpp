// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/optim/adamw.hpp>
#include <creditlib/optim/sgd.hpp>
#include <optional>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"
#include "../threads.hpp"

// Parameters whose elements have gaps between them in memory: LibTorch's fused kernels do not look at strides.

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// These numbers as every second column of a larger tensor, of which the others hold 7; or row by row, or transposed.
torch::Tensor in_columns(const torch::Tensor& values) {
  return torch::full({values.size(0), 2 * values.size(1)}, 7, values.options())
      .slice(1, 0, std::nullopt, 2)
      .copy_(values);
}
torch::Tensor in_rows(const torch::Tensor& values) {
  return torch::full({values.size(0), values.size(1) + 3}, 7, values.options())
      .narrow(1, 1, values.size(1))
      .copy_(values);
}
torch::Tensor in_rows_transposed(const torch::Tensor& values) { return in_rows(values.t().contiguous()).t(); }

/// The values after some steps.
template <class Optimizer>
torch::Tensor after_steps(torch::Tensor parameter, const typename Optimizer::Options& options) {
  torch::manual_seed(5);
  Optimizer optimizer(std::vector<torch::Tensor>{parameter}, options);
  for (int step = 0; step < 3; ++step) {
    parameter.mutable_grad() = torch::randn(parameter.sizes(), parameter.options());
    optimizer.step();
  }
  return parameter;
}

template <class Optimizer>
void check_gaps(const typename Optimizer::Options& options, const torch::Tensor& values) {
  const auto expected = after_steps<Optimizer>(values.clone(), options);
  for (const auto& layout : {in_columns, in_rows, in_rows_transposed}) {
    const auto parameter = layout(values);
    REQUIRE_FALSE(parameter.is_non_overlapping_and_dense());
    CHECK(distance(after_steps<Optimizer>(parameter, options), expected) < 1e-6);
    const auto all = static_cast<std::int64_t>(parameter.storage().nbytes() / parameter.element_size());
    const auto memory = parameter.as_strided({all}, {1}, 0);
    CHECK(memory.eq(7).sum().item<std::int64_t>() == all - parameter.numel());
  }
}

/// A small model whose weights are views with gaps, and the same without gaps.
template <class Make>
std::vector<torch::Tensor> parameters_after_steps(bool gaps, const Make& make) {
  auto model = residual_mlp();
  for (auto& parameter : model->parameters()) {
    if (!gaps) continue;
    const auto values = parameter.detach().unsqueeze(0);
    parameter.set_data(parameter.dim() == 2 ? in_columns(parameter.detach()) : in_columns(values)[0]);
    REQUIRE_FALSE(parameter.is_non_overlapping_and_dense());
  }
  auto trainer = make(model);
  const auto batch = small_batch();
  for (int i = 0; i < 3; ++i) trainer.step(batch.x, batch.y);
  return copies(model->parameters());
}

}  // namespace

TEST_CASE("a view with gaps is updated as a tensor of its own, and the gaps are left alone", "[optim]") {
  for (const auto& values : {torch::linspace(-1, 1, 15).view({3, 5}), torch::linspace(-1, 1, 150000).view({300, 500}),
                             torch::linspace(-1, 1, 15, torch::kFloat64).view({3, 5})}) {
    const Threads two(2);
    check_gaps<optim::AdamW>({.lr = 0.1}, values);
    check_gaps<optim::AdamW>({.lr = 0.1, .lr_in_tensor = true}, values);
    check_gaps<optim::SGD>({.lr = 0.1, .momentum = 0.9}, values);
    check_gaps<optim::SGD>({.lr = 0.1, .momentum = 0}, values);
  }
}

TEST_CASE("a model whose parameters have gaps trains as one without", "[optim]") {
  const auto check = [](const auto& make) {
    const auto with = parameters_after_steps(true, make), without = parameters_after_steps(false, make);
    CHECK(distance(with, without) < 1e-6);
  };
  check([](auto& model) { return LocalTrainer(model, DFA{}); });
  check([](auto& model) { return LocalTrainer(model, DFA{}, {.path = Path::Generic}); });
  check([](auto& model) { return BackpropTrainer(model, {.optimizer = Optimizer::SGD}); });
}

TEMPLATE_TEST_CASE("a parameter whose elements share memory is refused before anything changes", "[optim]",
                   optim::AdamW, optim::SGD) {
  auto good = torch::ones({2, 3}), expanded = torch::ones({1, 3}).expand({4, 3});
  TestType optimizer({good, expanded});
  good.mutable_grad() = torch::ones({2, 3});
  expanded.mutable_grad() = torch::ones({4, 3});

  CHECK(says(error_of([&] { optimizer.step(); }), {"A parameter is (4, 3) float32 on cpu", "share memory", "clone()"}));
  CHECK(torch::equal(good, torch::ones({2, 3})));

  expanded.mutable_grad().reset();  // as a frozen one
  CHECK(error_of([&] { optimizer.step(); }) == "(nothing was thrown)");
}
