// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "../models.hpp"
#include "../test.hpp"
#include "fake_device.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("operators on the fake device give the CPU's numbers, and are written down", "[fake_device]") {
  torch::manual_seed(1);
  const auto x = torch::randn({4, 3}), w = torch::randn({5, 3});
  const auto here = x.to(fake_device::device()), there = w.to(fake_device::device());
  CHECK(here.device() == fake_device::device());
  fake_device::clear();

  const auto y = torch::gelu(here.mm(there.t())).sum(1) * 2;
  const auto log = fake_device::log();

  CHECK(log.launches ==
        std::map<std::string, int>{{"aten::mm", 1}, {"aten::gelu", 1}, {"aten::sum", 1}, {"aten::mul", 1}});
  CHECK(log.total() == 4);
  CHECK(log.host_reads.empty());
  CHECK(torch::allclose(y.cpu(), torch::gelu(x.mm(w.t())).sum(1) * 2));
}

TEST_CASE("autograd runs on the fake device", "[fake_device]") {
  torch::manual_seed(1);
  const auto x = torch::randn({2, 3, 6, 6});
  torch::nn::Sequential model(torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 4, 3)), torch::nn::BatchNorm2d(4),
                              torch::nn::ReLU(), torch::nn::Flatten(), torch::nn::Linear(64, 2));
  const auto gradients = [&](torch::Device device) {
    std::vector<torch::Tensor> found;
    for (const auto& g : torch::autograd::grad({model->forward(x.to(device)).square().sum()}, model->parameters()))
      found.push_back(g.cpu());
    return found;
  };
  const auto expected = gradients(torch::kCPU);
  model->to(fake_device::device());
  const auto found = gradients(fake_device::device());
  for (std::size_t i = 0; i < expected.size(); ++i) CHECK(torch::allclose(found[i], expected[i], 1e-4, 1e-5));
}

TEST_CASE("what makes the host wait for the fake device is written down", "[fake_device]") {
  const auto x = torch::ones({3}, fake_device::device());
  const auto reads = [&](const auto& action) {
    fake_device::clear();
    action();
    return fake_device::log().host_reads.size();
  };
  CHECK(reads([&] { x.sum(); }) == 0);
  CHECK(reads([&] { x.sum().item<float>(); }) == 1);
  CHECK(reads([&] { x.cpu(); }) == 1);
  CHECK(reads([&] { x.nonzero(); }) == 1);
  CHECK(reads([&] { torch::ones({3}).to(x.device()); }) == 1);
  CHECK(reads([&] { x.to(torch::kCPU, /*non_blocking=*/true); }) == 0);  // into pinned memory
  CHECK(reads([&] { x * 2.5; }) == 0);
}

TEST_CASE("an operator that sees two devices throws, but for scalars that it reads", "[fake_device]") {
  const auto x = torch::ones({3}, fake_device::device());
  const auto said_of = [](const auto& action) -> std::string {
    try {
      action();
    } catch (const c10::Error& error) {
      return error.what_without_backtrace();
    }
    return "";
  };
  CHECK(says(said_of([&] { x + torch::ones({3}); }), {"aten::add", "other is on cpu"}));
  CHECK(says(said_of([&] { torch::ones({3}) + x; }), {"aten::add", "self is on cpu"}));
  CHECK_NOTHROW(x + torch::ones({}));
  auto scalar = torch::ones({});
  CHECK(says(said_of([&] { scalar.add_(x.sum()); }), {"self is on cpu"}));
  const auto of_cpu = torch::make_generator<at::CPUGeneratorImpl>(std::uint64_t{1});
  CHECK(says(said_of([&] { x.clone().normal_(0, 1, of_cpu); }), {"the generator is the CPU's"}));
}

TEST_CASE("the fake device draws from a generator of its own", "[fake_device]") {
  const auto before = global_generator_state();
  fake_device::seed(5);
  const auto a = torch::rand({4}, fake_device::device()).cpu();
  fake_device::seed(5);
  const auto b = torch::rand({4}, fake_device::device()).cpu();
  CHECK(torch::equal(a, b));
  CHECK(torch::equal(before, global_generator_state()));
}
