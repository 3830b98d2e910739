// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/data/normalize.hpp>
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/diagnostics/loss_from.hpp>
#include <creditlib/local_trainer.hpp>

#include "models.hpp"
#include "test.hpp"

// What a caller gives stays as it is, and after an error so do the parameters.

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// loss_i = <logits_i, target_i>, whose error is the target itself.
struct Linear {
  torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor& target) const {
    return (logits * target).sum(1);
  }
  torch::Tensor error(const torch::Tensor&, const torch::Tensor& target) const { return target; }
  void check(const torch::Tensor&, const torch::Tensor&) const {}
};

/// Cross-entropy that cannot be asked for the loss.
struct Lossless : CrossEntropy {
  torch::Tensor loss(const torch::Tensor&, const torch::Tensor&) const { throw Error("no loss today"); }
};

SequentialBlocks in_place_first() {
  using namespace torch::nn;
  torch::manual_seed(1);
  return SequentialBlocks({.blocks = {Sequential(ReLU(ReLUOptions(true)), torch::nn::Linear(6, 5))},
                           .readout = Sequential(torch::nn::Linear(5, small_classes)),
                           .example = torch::zeros({1, 6})});
}

/// A ResidualMLP that adds into the block's output.
struct AddingImpl : ResidualMLPImpl {
  AddingImpl() : ResidualMLPImpl({.input = 6, .width = 5, .classes = small_classes, .blocks = 2}) {}
  torch::Tensor join(std::int64_t, const torch::Tensor& h, torch::Tensor f) { return f.add_(h); }
};
TORCH_MODULE(Adding);

}  // namespace

TEST_CASE("an objective's error may be the target, which no trainer changes", "[backprop][local_trainer]") {
  const auto x = small_batch().x;
  const auto y = torch::randn({x.size(0), small_classes}), before = y.clone();
  for (const auto path : {Path::ClosedForm, Path::Generic}) {
    BackpropTrainer whole(small_model(), {.path = path}, Linear{});
    whole.gradients(x, y);
    whole.step(x, y);
    CHECK(torch::equal(y, before));
    LocalTrainer local(small_model(), DFA{}, {.path = path}, {}, {}, {}, Linear{});
    local.step(x, y);
    CHECK(torch::equal(y, before));
  }
}

TEST_CASE("a step that ends in an error of the objective leaves the parameters", "[local_trainer]") {
  for (const auto path : {Path::ClosedForm, Path::Generic}) {
    auto model = small_model();
    LocalTrainer trainer(model, DFA{}, {.path = path}, {}, {}, {}, Lossless{});
    std::vector<torch::Tensor> before;
    for (const auto& parameter : model->parameters()) before.push_back(parameter.detach().clone());
    const auto batch = small_batch();
    CHECK(says(error_of([&] { trainer.step(batch.x, batch.y); }), {"no loss today"}));
    CHECK(same(model->parameters(), before));
    CHECK(trainer.steps() == 0);
  }
}

TEST_CASE("a block that overwrites its input does not overwrite the batch", "[backprop][diagnostics]") {
  auto model = in_place_first();
  const auto batch = small_batch();
  const auto before = batch.x.clone();
  BackpropTrainer trainer(model);
  trainer.gradients(batch.x, batch.y);
  trainer.step(batch.x, batch.y);
  CHECK(torch::equal(batch.x, before));
  CHECK(says(error_of([&] { diagnostics::hidden_states(model, batch.x); }), {"Block 0", "in place"}));
  CHECK(torch::equal(batch.x, before));
  CHECK(says(error_of([&] { diagnostics::LossFrom(model, batch.x.clone(), batch.y); }), {"Block 0", "in place"}));
}

TEST_CASE("a join that overwrites the block's output says so", "[local_trainer]") {
  LocalTrainer trainer(Adding(), DFA{});
  const auto batch = small_batch();
  CHECK(says(error_of([&] { trainer.step(batch.x, batch.y); }), {"join", "f_0", "in place"}));
}

TEST_CASE("images that are numbers already are normalised into a new tensor", "[data]") {
  const data::Dataset dataset{.name = "d",
                              .images = torch::randint(256, {2, 3, 4, 4}, torch::kUInt8),
                              .labels = torch::zeros({2}, torch::kInt64),
                              .classes = 2,
                              .mean = {0.1, 0.2, 0.3},
                              .deviation = {1, 2, 3}};
  const auto images = dataset.images.to(torch::kFloat32), before = images.clone();
  const auto normalised = data::normalise(images, dataset);
  CHECK(torch::equal(images, before));
  CHECK(torch::equal(normalised, data::normalise(dataset.images, dataset)));
}
