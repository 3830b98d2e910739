// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <creditlib/any_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/forward_dfa.hpp>
#include <creditlib/credit/forward_gradient.hpp>
#include <creditlib/credit/value_net.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/credit/weight_mirror.hpp>
#include <creditlib/diagnostics/finite.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/small_cnn.hpp>
#include <creditlib/net/credit_net.hpp>
#include <creditlib/optim/clip.hpp>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "../models.hpp"
#include "../temporary_folder.hpp"
#include "../test.hpp"
#include "any_model.hpp"
#include "fake_device.hpp"

using namespace creditlib;
using namespace creditlib::test;

// What a device must not be asked too often, or not at all.
namespace {

template <class Action>
fake_device::Log log_of(const Action& action) {
  fake_device::clear();
  action();
  return fake_device::log();
}

template <class Rule>
AnyTrainer drawing_trainer(const Rule& rule, Draws draws) {
  torch::manual_seed(1);
  auto model = any_model(residual_mlp(torch::kFloat64));
  model->to(fake_device::device());
  return LocalTrainer(model, rule, {.seed = 3, .draws = draws});
}

/// The losses of steps from..to-1.
std::vector<double> losses_of_steps(AnyTrainer& trainer, int from, int to) {
  std::vector<double> losses;
  for (int i = from; i < to; ++i) {
    auto [x, y] = batch_for(Kind::residual_mlp, torch::kFloat64, 7, static_cast<std::uint64_t>(i));
    losses.push_back(
        trainer.step(x.to(fake_device::device()), y.to(fake_device::device())).loss.cpu().template item<double>());
  }
  return losses;
}

template <class Rule>
void check_device_draws(const Rule& rule, const std::string& drawn_by) {
  INFO(c10::demangle(typeid(Rule).name()));
  auto on_host = drawing_trainer(rule, Draws::Host), on_device = drawing_trainer(rule, Draws::Device);
  auto [x, y] = batch_for(Kind::residual_mlp, torch::kFloat64, 7, 1);
  x = x.to(fake_device::device());
  y = y.to(fake_device::device());
  for (int i = 0; i < 2; ++i) on_host.step(x, y), on_device.step(x, y);
  const auto global = at::globalContext().defaultGenerator(fake_device::device()).get_state();
  const auto sent = log_of([&] { on_host.step(x, y); }), drawn = log_of([&] { on_device.step(x, y); });
  CHECK(torch::equal(global, at::globalContext().defaultGenerator(fake_device::device()).get_state()));
  CHECK(sent.launches.count(drawn_by) == 0);
  CHECK(drawn.launches.count(drawn_by) == 1);
  CHECK(drawn.launches.at("aten::copy_") <= sent.launches.at("aten::copy_"));

  auto first = drawing_trainer(rule, Draws::Device), second = drawing_trainer(rule, Draws::Device);
  const auto losses = losses_of_steps(first, 0, 6);
  CHECK(losses_of_steps(second, 0, 3) == std::vector<double>(losses.begin(), losses.begin() + 3));
  const TemporaryFolder folder;
  second.save(folder / "second.pt");
  auto resumed = drawing_trainer(rule, Draws::Device);
  resumed.load(folder / "second.pt");
  CHECK(losses_of_steps(resumed, 3, 6) == std::vector<double>(losses.begin() + 3, losses.end()));
}

}  // namespace

TEST_CASE("with Draws::Device steps draw on the device, from a generator of the trainer's", "[fake_device]") {
  check_device_draws(ValueNet{}, "aten::normal_");
  check_device_draws(Vec{}, "aten::normal_");
  check_device_draws(ForwardGradient{}, "aten::normal_");
  check_device_draws(ForwardDFA{}, "aten::normal_");
  check_device_draws(WeightMirror{}, "aten::uniform_");
}

TEST_CASE("clipping block by block takes two kernels for each block", "[fake_device]") {
  torch::manual_seed(1);
  std::vector<torch::Tensor> here, there;
  for (int i = 0; i < 12; ++i) {
    here.push_back(torch::randn({3, 2}));
    there.push_back(here.back().to(fake_device::device()));
  }
  const std::vector<std::vector<std::size_t>> groups{{0, 1, 2}, {4, 5}, {7, 8, 9, 10}};
  optim::clip_norms(here, groups, 0.7);
  const auto log = log_of([&] { optim::clip_norms(there, groups, 0.7); });

  CHECK(log.total() == 6 + 2 * 3);
  CHECK(log.host_reads.empty());
  for (std::size_t i = 0; i < here.size(); ++i) CHECK(torch::allclose(there[i].cpu(), here[i]));
}

TEST_CASE("a loss is looked at by one kernel, and first() finds the step", "[fake_device]") {
  const auto device = fake_device::device();
  const auto fine = torch::ones({}, device), infinite = torch::full({}, std::numeric_limits<float>::infinity(), device);
  diagnostics::FiniteLosses losses;
  CHECK(!losses.first());
  losses.observe(fine, 0);
  const auto log = log_of([&] { losses.observe(fine, 1); });
  CHECK(log.total() == 1);
  CHECK(log.host_reads.empty());
  for (int step = 2; step < 1500; ++step) losses.observe(fine, step);
  CHECK(!losses.first());
  losses.observe(infinite, 7000);
  losses.observe(torch::full({}, std::nan(""), device), 7001);
  losses.observe(fine, 7002);
  CHECK(losses.first() == 7000);
}

TEST_CASE("the time embedding of a credit net is computed once", "[fake_device]") {
  const auto device = fake_device::device();
  const CreditNet net({.state = 4, .condition = 2, .output = 1},
                      {device, torch::kFloat32, torch::make_generator<at::CPUGeneratorImpl>(std::uint64_t{1})});
  const auto h = torch::randn({3, 4}, device), s = torch::randn({3, 2}, device);
  const auto first = log_of([&] { net->forward(h, 0.5, s); }), next = log_of([&] { net->forward(h, 0.5, s); });
  CHECK(first.launches.count("aten::sin") == 1);
  CHECK(next.launches.count("aten::sin") == 0);
  CHECK(!torch::equal(net->forward(h, 0.25, s).cpu(), net->forward(h, 0.5, s).cpu()));
}

TEST_CASE("images in channels last stay so on a device, and give the same step", "[fake_device]") {
  const auto device = fake_device::device();
  const auto step_of = [&](torch::MemoryFormat layout) {
    torch::manual_seed(1);
    auto model = any_model(SmallCNN({.image = 8}));
    const auto x = torch::randn({8, 3, 8, 8}).to(device).contiguous(layout);
    const auto y = torch::randint(10, {8}, torch::kInt64).to(device);
    model->to(device);
    const torch::NoGradGuard no_grad;
    const auto h = model->embed(x);
    CHECK(model->join(0, h, model->block(0, h)).is_contiguous(layout));
    LocalTrainer trainer(model, DFA{});
    trainer.step(x, y);
    return trainer.step(x, y).loss.cpu();
  };
  CHECK(torch::allclose(step_of(torch::MemoryFormat::ChannelsLast), step_of(torch::MemoryFormat::Contiguous)));
}
