// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <memory>

#include "../models.hpp"
#include "../sources.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Writes down the first block's weight whenever it is called, and what grad mode is.
struct Witness {
  std::shared_ptr<std::vector<torch::Tensor>> weights = std::make_shared<std::vector<torch::Tensor>>();
  std::shared_ptr<std::vector<bool>> grad_modes = std::make_shared<std::vector<bool>>();

  void see(auto& model) const {
    weights->push_back(model->block_parameters(0)[0].detach().clone());
    grad_modes->push_back(torch::GradMode::is_enabled());
  }
  std::vector<torch::Tensor> credit(auto& model, const Trace& trace) const {
    see(model);
    return trace.hidden;
  }
  void learn(auto& model, const Trace&) { see(model); }
  void after_step(auto& model, const Trace&) { see(model); }
};

}  // namespace

TEST_CASE("a step is one of torch.optim's with the gradients that .grad holds", "[trainer]") {
  const auto kind = GENERATE(Optimizer::AdamW, Optimizer::SGD);
  auto model = small_model(torch::kFloat64), other = small_model(torch::kFloat64);
  LocalTrainer trainer(model, FA{}, {.lr = 0.02, .weight_decay = 0.1, .optimizer = kind, .rate = Rate::Constant});
  std::unique_ptr<torch::optim::Optimizer> reference;
  if (kind == Optimizer::AdamW) {
    reference =
        std::make_unique<torch::optim::AdamW>(other->parameters(), torch::optim::AdamWOptions(0.02).weight_decay(0.1));
  } else {
    reference = std::make_unique<torch::optim::SGD>(other->parameters(),
                                                    torch::optim::SGDOptions(0.02).weight_decay(0.1).momentum(0.9));
  }

  for (std::uint64_t i = 0; i < 5; ++i) {
    const auto batch = batch_for(Kind::residual_mlp, torch::kFloat64, 7, i);
    trainer.step(batch.x, batch.y);
    const auto from = model->parameters();
    auto to = other->parameters();
    for (std::size_t p = 0; p < from.size(); ++p) to[p].mutable_grad() = from[p].grad().clone();
    reference->step();
  }

  CHECK(distance(model->parameters(), other->parameters()) < 1e-12);
}

TEST_CASE("a step tells the mean loss and the number right before it, detached", "[trainer]") {
  auto model = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  const auto logits = model->forward(batch.x).detach();
  LocalTrainer trainer(model, DFA{});

  const auto result = trainer.step(batch.x, batch.y);

  double loss = 0;
  std::int64_t correct = 0;
  for (std::int64_t b = 0; b < 7; ++b) {
    loss -= logits[b].log_softmax(0)[batch.y[b].item<std::int64_t>()].item<double>() / 7;
    correct += logits[b].argmax().item<std::int64_t>() == batch.y[b].item<std::int64_t>();
  }
  CHECK(result.loss.item<double>() == Approx(loss));
  CHECK(result.loss.dim() == 0);
  CHECK_FALSE(result.loss.requires_grad());
  CHECK(result.correct.item<std::int64_t>() == correct);
}

TEST_CASE("credit comes first, then learning, then the update, which after_step sees", "[trainer]") {
  auto model = small_model();
  const auto batch = small_batch();
  Witness witness;
  LocalTrainer trainer(model, witness);
  const auto before = model->block_parameters(0)[0].detach().clone();

  const torch::NoGradGuard no_grad;  // grad mode is the trainer's own affair
  trainer.step(batch.x, batch.y);

  REQUIRE(witness.weights->size() == 3);
  CHECK(torch::equal(witness.weights->at(0), before));
  CHECK(torch::equal(witness.weights->at(1), before));
  CHECK(torch::equal(witness.weights->at(2), model->block_parameters(0)[0]));
  CHECK_FALSE(torch::equal(witness.weights->at(2), before));
  CHECK_FALSE(witness.grad_modes->at(0));
  CHECK(witness.grad_modes->at(1));
  CHECK_FALSE(torch::GradMode::is_enabled());

  Recorder recorder;
  LocalTrainer other(model, recorder);
  other.step(batch.x, batch.y);
  CHECK(*recorder.calls == std::vector<std::string>{"credit", "learn", "after_step"});
  other.learn(batch.x, batch.y);
  CHECK(recorder.calls->back() == "learn");
}

TEST_CASE("frozen parameters stay as they are, weight decay included, and the others train", "[trainer]") {
  auto model = small_model(), free = small_model();
  const auto batch = small_batch();
  const auto is_frozen = [](const std::string& parameter) {
    return parameter.find("embed") == 0 || parameter.find("blocks.1") == 0 || parameter == "blocks.2.w1.weight";
  };
  for (auto& entry : model->named_parameters()) {
    if (is_frozen(entry.key())) entry.value().set_requires_grad(false);
  }
  const auto before = copies(model->parameters());
  LocalTrainer trainer(model, DFA{}, {.lr = 0.1, .clip_norm = 1e6});
  LocalTrainer all(free, DFA{}, {.lr = 0.1, .clip_norm = 1e6});

  const auto shown = trainer.gradients(batch.x, batch.y), of_all = all.gradients(batch.x, batch.y);
  trainer.step(batch.x, batch.y);

  std::size_t i = 0;
  for (const auto& entry : model->named_parameters()) {
    INFO(entry.key());
    CHECK(torch::equal(entry.value(), before[i]) == is_frozen(entry.key()));
    CHECK(shown[i].defined() == !is_frozen(entry.key()));
    if (shown[i].defined()) CHECK(distance(shown[i], of_all[i]) < 1e-6);
    ++i;
  }
}

TEST_CASE("a step is the same with grad mode off around it", "[trainer]") {
  auto model = small_model(), other = small_model();
  const auto batch = small_batch();
  LocalTrainer trainer(model, Oracle{});
  LocalTrainer outside(other, Oracle{});
  trainer.step(batch.x, batch.y);
  {
    const torch::NoGradGuard no_grad;
    outside.step(batch.x, batch.y);
    CHECK(outside.credits(batch.x, batch.y).size() == 4);
  }

  CHECK(same(model->parameters(), other->parameters()));
  CHECK(torch::GradMode::is_enabled());
}

TEST_CASE("a trainer leaves train and eval mode alone", "[trainer]") {
  for (const bool training : {true, false}) {
    auto model = stages(Kind::batch_norm);
    const auto batch = batch_for(Kind::batch_norm);
    model->train(training);
    const auto statistics = copies(model->buffers());
    LocalTrainer trainer(model, DFA{});
    trainer.credits(batch.x, batch.y);
    trainer.step(batch.x, batch.y);

    for (const auto& module : model->modules()) CHECK(module->is_training() == training);
    CHECK(same(statistics, copies(model->buffers())) == !training);
  }
}

TEST_CASE("each rule learns a task of two clusters", "[trainer]") {
  torch::manual_seed(4);
  const auto y = torch::randint(2, {64});
  const auto x = torch::randn({64, 6}) + (2 * y.to(torch::kFloat32) - 1).unsqueeze(1);
  const auto end = [&](auto rule, double lambda) {
    torch::manual_seed(8);
    auto model = ResidualMLP({.input = 6, .width = 16, .classes = 2, .blocks = 2});
    LocalTrainer trainer(model, rule, {.lr = 5e-3}, {}, {}, PenalizedInnerProduct{.lambda = lambda});
    double last = 0;
    for (int i = 0; i < 60; ++i) last = trainer.step(x, y).loss.template item<double>();
    return last;
  };

  CHECK(end(DFA{}, 0.01) < 0.2);
  CHECK(end(FA{}, 0.01) < 0.2);
  CHECK(end(Oracle{}, 0.01) < 0.2);
}
