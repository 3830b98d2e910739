// SPDX-License-Identifier: Apache-2.0
#include <ATen/autocast_mode.h>

#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/recurrent.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"

// A program that has autocast on: it acts within the parts of the network, and on nothing else.

using namespace creditlib;
using namespace creditlib::test;
namespace nn = torch::nn;

namespace {

/// As a program turns it on: with its cache, which nobody clears until the end.
class ProgramAutocast {
 public:
  explicit ProgramAutocast(torch::Dtype dtype = torch::kBFloat16) {
    at::autocast::set_autocast_dtype(at::kCPU, dtype);
    at::autocast::set_autocast_enabled(at::kCPU, true);
  }
  ~ProgramAutocast() {
    at::autocast::set_autocast_enabled(at::kCPU, false);
    at::autocast::set_autocast_dtype(at::kCPU, torch::kBFloat16);
    at::autocast::clear_cache();
  }
  ProgramAutocast(const ProgramAutocast&) = delete;
  ProgramAutocast& operator=(const ProgramAutocast&) = delete;
};

/// Convolutions and linear layers, (B, 2, 6, 6) to 4 classes; by autograd. `seen` is where a layer notes its dtype.
struct NotedImpl : nn::Module {
  explicit NotedImpl(std::vector<torch::Dtype>& seen) : seen(&seen) {}
  torch::Tensor forward(const torch::Tensor& h) {
    seen->push_back(h.scalar_type());
    return h.tanh();
  }
  std::vector<torch::Dtype>* seen;
};
SequentialBlocks noted_network(std::vector<torch::Dtype>& seen, torch::Dtype dtype = torch::kFloat32) {
  torch::manual_seed(1);
  SequentialBlocks model(
      {.embed = nn::Conv2d(nn::Conv2dOptions(2, 5, 3).padding(1)),
       .blocks = {nn::Sequential(nn::Conv2d(nn::Conv2dOptions(5, 5, 3).padding(1)), nn::BatchNorm2d(5),
                                 std::make_shared<NotedImpl>(seen)),
                  nn::Sequential(nn::Flatten(), nn::Linear(180, 9), std::make_shared<NotedImpl>(seen))},
       .readout = nn::Linear(9, small_classes),
       .example = torch::zeros({1, 2, 6, 6})});
  model->to(dtype);
  seen.clear();
  return model;
}
Batch noted_batch(torch::Dtype dtype = torch::kFloat32) {
  torch::manual_seed(2);
  return {torch::randn({16, 2, 6, 6}, dtype), torch::randint(small_classes, {16})};
}

/// Checks that what it is shown is in float32, and that autocast does not act on what it computes.
struct Checking {
  struct State {
    std::vector<torch::Tensor> credit(auto&, const Trace& trace) const {
      std::vector<torch::Tensor> credits;
      for (const auto& h : trace.hidden) {
        if (h.scalar_type() != torch::kFloat32)
          throw std::logic_error("a hidden state is " + c10::str(h.scalar_type()));
        credits.push_back(torch::ones_like(h));
      }
      const auto product = trace.error.mm(trace.error.t());
      if (trace.error.scalar_type() != torch::kFloat32 || product.scalar_type() != torch::kFloat32)
        throw std::logic_error("the rule works in " + c10::str(product.scalar_type()));
      return credits;
    }
    NamedTensors named_tensors() const { return {}; }
  };
  State bind(auto&, const BindContext&) const { return {}; }
};

}  // namespace

TEST_CASE("under autocast layers work in bfloat16, and rules, losses and gradients in float32", "[trainer][autocast]") {
  std::vector<torch::Dtype> seen;
  auto model = noted_network(seen);
  const auto batch = noted_batch();
  LocalTrainer trainer(model, Checking{}, {});
  const ProgramAutocast on;

  const auto result = trainer.step(batch.x, batch.y);
  CHECK(seen == std::vector<torch::Dtype>{torch::kBFloat16, torch::kBFloat16});
  CHECK(result.loss.scalar_type() == torch::kFloat32);
  for (const auto& parameter : model->parameters()) CHECK(parameter.grad().scalar_type() == torch::kFloat32);
  for (const auto& a : trainer.credits(batch.x, batch.y)) CHECK(a.scalar_type() == torch::kFloat32);
}

TEST_CASE("gradients under autocast are LibTorch's under autocast", "[trainer][autocast]") {
  std::vector<torch::Dtype> seen;
  auto model = noted_network(seen);
  const auto batch = noted_batch();
  LocalTrainer oracle(model, Oracle{}, {}, Raw{});
  BackpropTrainer backprop(model, {});
  const auto exact = backprop.gradients(batch.x, batch.y);
  const ProgramAutocast on;
  const auto loss = [&] {
    const auto logits = model->forward(batch.x);
    return at::cross_entropy_loss(logits.to(torch::kFloat32), batch.y);
  }();
  at::autocast::clear_cache();
  const auto expected = torch::autograd::grad({loss}, model->parameters());

  const auto by_oracle = oracle.gradients(batch.x, batch.y), by_backprop = backprop.gradients(batch.x, batch.y);
  CHECK(distance(by_oracle, by_backprop) < 1e-5);
  // Of all parameters together, since a bias before BatchNorm has a gradient of rounding errors alone. bfloat16 has 8
  // bits, and LibTorch's hidden states have no more either.
  const auto apart = [](const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
    return distance(nn::utils::parameters_to_vector(a), nn::utils::parameters_to_vector(b));
  };
  CHECK(apart(by_backprop, expected) < 0.02);
  CHECK(apart(by_backprop, exact) < 0.02);
  CHECK(apart(by_backprop, exact) > 1e-4);
  CHECK(distance(oracle.credits(batch.x, batch.y), backprop.credits(batch.x, batch.y)) < 1e-5);
}

TEST_CASE("steps under autocast see the weights of the step before, and train", "[trainer][autocast]") {
  std::vector<torch::Dtype> seen;
  const auto batch = noted_batch();
  const auto losses = [&](bool autocast, auto make) {
    auto model = noted_network(seen);
    auto trainer = make(model);
    std::vector<double> all;
    std::optional<ProgramAutocast> on;
    if (autocast) on.emplace();
    for (int step = 0; step < 20; ++step) {
      model->forward(batch.x);  // a program's own pass, which fills the cache
      all.push_back(trainer.step(batch.x, batch.y).loss.template item<double>());
    }
    return all;
  };
  const auto check = [&](const auto& make) {
    const auto with = losses(true, make), without = losses(false, make);
    for (std::size_t i = 0; i < with.size(); ++i) CHECK(with[i] == Approx(without[i]).margin(0.05));
    CHECK(with.back() < 0.7 * with.front());
  };
  check([](auto& model) { return LocalTrainer(model, DFA{}, {.lr = 1e-2, .epochs = 1}); });
  check([](auto& model) { return BackpropTrainer(model, {.lr = 1e-2, .epochs = 1}); });
}

TEST_CASE("a program's autocast is as it was after a step, and after one that fails", "[trainer][autocast]") {
  std::vector<torch::Dtype> seen;
  auto model = noted_network(seen);
  const auto batch = noted_batch();
  LocalTrainer trainer(model, DFA{}, {});
  const ProgramAutocast on;
  const auto as_before = [] {
    return at::autocast::is_autocast_enabled(at::kCPU) && at::autocast::is_autocast_cache_enabled();
  };
  trainer.step(batch.x, batch.y);
  CHECK(as_before());
  trainer.backward(batch.x, batch.y);
  trainer.end_step();
  CHECK(as_before());
  CHECK(says(error_of([&] { trainer.step(torch::randn({3, 2, 5, 5}), torch::tensor({0, 1, 2})); }), {"h_0 is"}));
  CHECK(as_before());
}

TEST_CASE("autocast does not act on float64", "[trainer][autocast]") {
  std::vector<torch::Dtype> seen;
  auto model = noted_network(seen, torch::kFloat64);
  const auto batch = noted_batch(torch::kFloat64);
  LocalTrainer trainer(model, DFA{}, {});
  const auto without = trainer.gradients(batch.x, batch.y);
  const ProgramAutocast on;
  CHECK(distance(trainer.gradients(batch.x, batch.y), without) < 1e-14);
}

TEST_CASE("recurrent layers train under autocast", "[trainer][autocast]") {
  torch::manual_seed(3);
  SequentialBlocks model(
      {.embed = nn::Embedding(4, 8),
       .blocks = {Recurrent(nn::LSTM(nn::LSTMOptions(8, 6).batch_first(true)), RecurrentOutput::LastStep)},
       .readout = nn::Linear(6, small_classes),
       .example = torch::zeros({1, 5}, torch::kInt64)});
  LocalTrainer trainer(model, DFA{}, {});
  const ProgramAutocast on;
  CHECK(std::isfinite(trainer.step(torch::randint(4, {3, 5}), torch::randint(small_classes, {3})).loss.item<double>()));
}

TEST_CASE("steps by formula under autocast are refused with the two cures", "[trainer][autocast]") {
  auto model = small_model();
  const auto batch = small_batch();
  LocalTrainer by_formula(model, DFA{}), by_autograd(model, DFA{}, {.path = Path::Generic});
  BackpropTrainer backprop(model);
  const auto before = copies(model->parameters());
  {
    const ProgramAutocast on;
    const auto refused = [&](const auto& action) {
      CHECK(says(error_of(action), {"Autocast is on", "by formula", "MatmulPrecision::BFloat16", "Path::Generic"}));
    };
    refused([&] { by_formula.step(batch.x, batch.y); });
    refused([&] { by_formula.backward(batch.x, batch.y); });
    refused([&] { by_formula.credits(batch.x, batch.y); });
    refused([&] { backprop.step(batch.x, batch.y); });
    CHECK(same(copies(model->parameters()), before));
    by_autograd.step(batch.x, batch.y);
    CHECK_FALSE(same(copies(model->parameters()), before));
  }
  by_formula.step(batch.x, batch.y);  // off again
}

TEST_CASE("a rule that learns, by small differences, works in float32 under autocast", "[trainer][autocast]") {
  auto model = stages(Kind::conv);
  const auto batch = batch_for(Kind::conv);
  LocalTrainer trainer(model, Vec{}, {});
  const ProgramAutocast on;
  trainer.step(batch.x, batch.y);
  for (const auto& [name, tensor] : trainer.state().named_tensors()) {
    INFO(name);
    CHECK((!tensor.is_floating_point() || tensor.scalar_type() == torch::kFloat32));
  }
}
