// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/closed_form/detail/share.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <thread>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"
#include "../threads.hpp"
#include "counted_allocations.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

constexpr std::int64_t batch = 72, classes = 5;

/// Every kind of layer, with enough to multiply for several threads; not residual where widths differ.
SequentialBlocks layers(torch::Dtype dtype) {
  using namespace torch::nn;
  torch::manual_seed(4);
  return lively(
      SequentialBlocks(SequentialBlocksOptions{
          .embed = Sequential(Flatten(), Linear(300, 90), LayerNorm(LayerNormOptions({90}))),
          .blocks = {Sequential(LayerNorm(LayerNormOptions({90})), Linear(90, 133), ReLU(), Linear(133, 90), Tanh()),
                     Sequential(Linear(LinearOptions(90, 90).bias(false)), GELU(),
                                LayerNorm(LayerNormOptions({90}).elementwise_affine(false))),
                     Sequential(Tanh(), LayerNorm(LayerNormOptions({90})), Linear(LinearOptions(90, 90).bias(false)))},
          .readout = Sequential(LayerNorm(LayerNormOptions({90})), Linear(90, classes)),
          .residual = true,
          .example = torch::zeros({1, 300})}),
      dtype);
}

ResidualMLP mlp(torch::Dtype dtype) {
  torch::manual_seed(5);
  return lively(ResidualMLP({.input = 300, .width = 96, .classes = classes, .blocks = 3}), dtype);
}

Batch batch_of(torch::Dtype dtype, std::int64_t rows = batch) {
  torch::manual_seed(6);
  return {torch::randn({rows, 300}).to(dtype), torch::randint(classes, {rows})};
}

/// How far the gradients of a step on several threads are from those on one.
template <class Make>
double from_one_thread(int threads, torch::Dtype dtype, const Make& make) {
  const auto [x, y] = batch_of(dtype);
  const auto gradients = [&](int count) {
    const Threads these(count);
    return make().gradients(x, y);
  };
  return distance(gradients(threads), gradients(1));
}

/// The parameters after some steps.
template <class Trainer>
std::vector<torch::Tensor> after_steps(Trainer trainer, torch::Dtype dtype) {
  for (const std::int64_t rows : {batch, batch, std::int64_t{9}, batch}) {
    const auto [x, y] = batch_of(dtype, rows);
    trainer.step(x, y);
  }
  return copies(trainer.model()->parameters());
}

/// How often a step, after the first, calls threads together.
template <class Trainer>
std::int64_t team_calls_of_a_step(Trainer trainer) {
  const auto [x, y] = batch_of(torch::kFloat32);
  trainer.step(x, y);
  const auto before = creditlib::detail::team_calls();
  trainer.step(x, y);
  return creditlib::detail::team_calls() - before;
}

}  // namespace

TEST_CASE("a batch is shared out if that is worth it: on the CPU, 8 rows and half a million products each",
          "[closed_form][threads]") {
  const Threads three(3);
  const auto shares = [](std::int64_t rows, std::int64_t work) {
    return creditlib::detail::shares_of(rows, work, torch::Device(torch::kCPU));
  };

  CHECK(shares(128, 1'000'000) == 3);
  CHECK(shares(16, 1'000'000) == 2);
  CHECK(shares(7, 1'000'000) == 1);
  CHECK(shares(128, 8'000) == 2);
  CHECK(shares(128, 100) == 1);
  CHECK(shares(0, 0) == 1);
  CHECK(creditlib::detail::shares_of(128, 1'000'000, torch::Device(torch::kCUDA)) == 1);
}

TEST_CASE("shares cover every row once", "[closed_form][threads]") {
  const auto t = torch::arange(33).view({11, 3});
  for (const std::int64_t of : {1, 2, 3, 11}) {
    std::vector<torch::Tensor> rows, columns;
    for (std::int64_t i = 0; i < of; ++i) rows.push_back(creditlib::detail::Share{i, of}.rows(t));
    for (std::int64_t i = 0; i < std::min<std::int64_t>(of, 3); ++i)
      columns.push_back(creditlib::detail::Share{i, std::min<std::int64_t>(of, 3)}.columns(t));
    CHECK(torch::equal(torch::cat(rows), t));
    CHECK(torch::equal(torch::cat(columns, 1), t));
  }
}

TEST_CASE("a step on several threads is the step of one, for every rule and layer", "[closed_form][threads]") {
  const auto dtype = GENERATE(torch::kFloat32, torch::kFloat64);
  const int threads = GENERATE(2, 3);
  const double near = dtype == torch::kFloat32 ? 2e-5 : 1e-12;
  REQUIRE(LocalTrainer(layers(dtype), DFA{}).path() == Path::ClosedForm);
  const auto local = [&](auto model, auto rule, auto... policies) {
    return from_one_thread(threads, dtype,
                           [=] { return LocalTrainer(model(torch::Dtype{dtype}), rule, {}, policies...); });
  };

  CHECK(local(layers, DFA{}) < near);
  CHECK(local(layers, FA{}) < near);
  CHECK(local(layers, Oracle{}, Raw{}) < near);
  CHECK(local(mlp, DFA{}) < near);
  CHECK(local(mlp, DFA{}, PenalizedInnerProduct{}) < near);
  CHECK(local(mlp, FA{}) < near);
  CHECK(local(mlp, Oracle{}) < near);
  CHECK(local(mlp, Vec{}) < near);
  const auto back = [&](double penalty) {
    return from_one_thread(threads, dtype, [=] { return BackpropTrainer(layers(dtype), {}, CrossEntropy{}, penalty); });
  };
  CHECK(back(0) < near);
  CHECK(back(.1) < near);
  CHECK(from_one_thread(threads, dtype, [&] { return LocalTrainer(mlp(dtype), DFA{}, {.memory = Memory::Constant}); }) <
        near);
}

TEST_CASE("few blocks with much to multiply are cut in columns", "[closed_form][threads]") {
  const auto wide = [] {
    torch::manual_seed(7);
    return lively(ResidualMLP({.input = 300, .width = 200, .classes = classes, .blocks = 1}), torch::kFloat64);
  };
  for (const int threads : {2, 5}) {
    CHECK(from_one_thread(threads, torch::kFloat64, [&] { return LocalTrainer(wide(), DFA{}); }) < 1e-12);
    CHECK(from_one_thread(threads, torch::kFloat64, [&] { return BackpropTrainer(wide()); }) < 1e-12);
    // Nothing but biases and one layer norm to train.
    CHECK(from_one_thread(threads, torch::kFloat64, [&] {
            auto model = wide();
            for (auto& named : model->named_parameters()) named.value().requires_grad_(named.value().dim() == 1);
            return BackpropTrainer(model);
          }) < 1e-12);
  }
}

TEST_CASE("large products in bfloat16 on several threads are those of one", "[closed_form][threads]") {
  for (const bool constant : {false, true}) {
    const double distance = from_one_thread(2, torch::kFloat32, [&] {
      return LocalTrainer(
          mlp(torch::kFloat32), DFA{},
          {.memory = constant ? Memory::Constant : Memory::Activations, .precision = MatmulPrecision::BFloat16});
    });
    CHECK(distance < 0.02);  // a unit of bfloat16 is 2^-8
  }
}

TEST_CASE("the same number of threads gives the same bits", "[closed_form][threads]") {
  const Threads three(3);
  const auto twice_the_same = [](const auto& make) {
    return same(after_steps(make(), torch::kFloat32), after_steps(make(), torch::kFloat32));
  };

  CHECK(twice_the_same([] { return LocalTrainer(mlp(torch::kFloat32), DFA{}); }));
  CHECK(twice_the_same([] { return LocalTrainer(mlp(torch::kFloat32), FA{}); }));
  CHECK(twice_the_same([] { return BackpropTrainer(layers(torch::kFloat32)); }));
}

TEST_CASE("a step calls threads together a few times, whatever its depth", "[closed_form][threads]") {
  ResidualMLP narrow({.input = 300, .width = 8, .classes = classes, .blocks = 1});
  const Threads two(2);
  const int dfa = 4;  // forward; what all rows need of the factors; rows; sums
  CHECK(team_calls_of_a_step(LocalTrainer(mlp(torch::kFloat32), DFA{})) == dfa);
  CHECK(team_calls_of_a_step(LocalTrainer(mlp(torch::kFloat32), DFA{}, {}, PenalizedInnerProduct{})) == 3);
  CHECK(team_calls_of_a_step(BackpropTrainer(mlp(torch::kFloat32))) == 3);
  CHECK(team_calls_of_a_step(LocalTrainer(mlp(torch::kFloat32), FA{})) == 4);  // and for dloss/dh_L
  CHECK(team_calls_of_a_step(LocalTrainer(narrow, DFA{})) == 0);

  const Threads one(1);
  CHECK(team_calls_of_a_step(LocalTrainer(mlp(torch::kFloat32), DFA{})) == 0);
}

TEST_CASE("on several threads too, a step allocates nothing of a hidden state's or a parameter's size",
          "[closed_form][threads]") {
  const Threads two(2);
  LocalTrainer trainer(mlp(torch::kFloat32), DFA{});
  const auto [x, y] = batch_of(torch::kFloat32);
  for (int i = 0; i < 3; ++i) trainer.step(x, y);
  CountedAllocations counted;

  trainer.step(x, y);

  CHECK(std::ranges::max(counted.sizes) <= batch * 16 * sizeof(float));
}

TEST_CASE("trainers in threads of their own train as they do alone", "[closed_form][threads]") {
  const Threads two(2);
  const auto expected = after_steps(LocalTrainer(mlp(torch::kFloat32), DFA{}), torch::kFloat32);
  std::vector<std::vector<torch::Tensor>> found(2);
  std::vector<LocalTrainer<ResidualMLP, DFA>> trainers;
  for (int i = 0; i < 2; ++i) trainers.emplace_back(mlp(torch::kFloat32), DFA{});
  const std::vector<Batch> batches{batch_of(torch::kFloat32), batch_of(torch::kFloat32), batch_of(torch::kFloat32, 9),
                                   batch_of(torch::kFloat32)};

  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      for (const auto& [x, y] : batches) trainers[i].step(x, y);
      found[i] = copies(trainers[i].model()->parameters());
    });
  }
  for (auto& thread : threads) thread.join();

  for (const auto& parameters : found) CHECK(same(parameters, expected));
}
