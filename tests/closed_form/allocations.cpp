// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"
#include "counted_allocations.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

constexpr std::int64_t batch = 64, width = 48, classes = 3;

template <class Make>
std::vector<std::size_t> allocations_of_a_step(const Make& make) {
  torch::manual_seed(1);
  ResidualMLP model({.input = 100, .width = width, .classes = classes, .blocks = 3});
  const auto x = torch::randn({batch, 100}), y = torch::randint(classes, {batch});
  auto trainer = make(model);
  for (int i = 0; i < 3; ++i) trainer.step(x, y);
  trainer.step(x.slice(0, 0, 7), y.slice(0, 0, 7));  // the short batch at an epoch's end
  CountedAllocations counted;

  trainer.step(x, y);

  CHECK(!counted.sizes.empty());  // the result's, at least
  return counted.sizes;
}
template <class Make>
std::size_t largest_allocation_of_a_step(const Make& make) {
  return std::ranges::max(allocations_of_a_step(make));
}

}  // namespace

// What is left are tensors of a few numbers a sample: errors, losses, factors of credit.
TEST_CASE("after the first steps, a step by formula allocates nothing of a hidden state's or a parameter's size",
          "[closed_form]") {
  const std::size_t few = batch * 16 * sizeof(float);
  REQUIRE(few < batch * width * sizeof(float));

  CHECK(largest_allocation_of_a_step([](auto model) { return LocalTrainer(model, DFA{}); }) <= few);
  CHECK(largest_allocation_of_a_step(
            [](auto model) { return LocalTrainer(model, DFA{}, {.memory = Memory::Constant}); }) <= few);
  CHECK(largest_allocation_of_a_step([](auto model) { return BackpropTrainer(model); }) <= few);
  CHECK(largest_allocation_of_a_step([](auto model) { return LocalTrainer(model, DFA{}, {.path = Path::Generic}); }) >
        few);
}

TEST_CASE("bfloat16's rounded factors are in buffers too", "[closed_form]") {
  const auto sizes = allocations_of_a_step(
      [](auto model) { return LocalTrainer(model, DFA{}, {.precision = MatmulPrecision::BFloat16}); });
  // Other ones are oneDNN's scratch. A number takes 2 bytes.
  for (const auto rounded : {batch * width, width * width})
    CHECK(std::ranges::count(sizes, static_cast<std::size_t>(2 * rounded)) == 0);
}
