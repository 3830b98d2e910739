// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/rate/cosine.hpp>
#include <creditlib/trainer/torch_optimizer.hpp>
#include <memory>
#include <vector>

#include "../models.hpp"
#include "../temporary_folder.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

std::vector<torch::Tensor> embed_and_blocks(ResidualMLP& model) {
  auto parameters = model->embed_parameters();
  for (std::int64_t l = 0; l < model->blocks(); ++l) {
    for (auto& parameter : model->block_parameters(l)) parameters.push_back(parameter);
  }
  return parameters;
}

/// Adam with the readout in a group of its own, at ten times the rate.
std::shared_ptr<torch::optim::Adam> grouped_adam(ResidualMLP& model) {
  using torch::optim::AdamOptions;
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(embed_and_blocks(model), std::make_unique<AdamOptions>(1e-2));
  groups.emplace_back(model->readout_parameters(), std::make_unique<AdamOptions>(1e-1));
  return std::make_shared<torch::optim::Adam>(groups, AdamOptions(1e-2));
}

template <class Trainer>
void run(Trainer& trainer, std::uint64_t from, std::uint64_t to) {
  for (auto i = from; i < to; ++i) {
    const auto batch = batch_for(Kind::residual_mlp, torch::kFloat32, 7, i);
    trainer.step(batch.x, batch.y);
    if (i % 2 == 1) trainer.end_epoch();
  }
}

}  // namespace

TEST_CASE("a trainer steps LibTorch's optimizer, with its groups, as a loop of one's own would", "[trainer][optim]") {
  auto model = small_model(), by_hand = small_model();
  LocalTrainer trainer(model, DFA{}, {}, grouped_adam(model));
  LocalTrainer credit(by_hand, DFA{});
  auto adam = grouped_adam(by_hand);

  run(trainer, 0, 4);
  for (std::uint64_t i = 0; i < 4; ++i) {
    const auto batch = batch_for(Kind::residual_mlp, torch::kFloat32, 7, i);
    adam->zero_grad();
    credit.backward(batch.x, batch.y);
    adam->step();
    credit.end_step();
  }

  CHECK(same(copies(model->parameters()), copies(by_hand->parameters())));
  CHECK(trainer.rate() == 1e-2);  // its own: the trainer's default cosine is not for it
}

TEST_CASE("a scheduler of LibTorch's drives the optimizer that a trainer shares", "[trainer][optim]") {
  auto model = small_model();
  auto adam = grouped_adam(model);
  torch::optim::StepLR scheduler(*adam, /*step_size=*/1, /*gamma=*/0.5);
  LocalTrainer trainer(model, DFA{}, {.epochs = 2}, adam);

  run(trainer, 0, 2);
  for (int i = 0; i < 2; ++i) scheduler.step();  // LibTorch's first call leaves the rate

  CHECK(trainer.rate() == 5e-3);
  const auto before = copies(model->readout_parameters());
  run(trainer, 2, 4);
  CHECK(adam->param_groups()[1].options().get_lr() == 5e-2);  // not put back by the trainer
  CHECK_FALSE(same(copies(model->readout_parameters()), before));
}

TEST_CASE("with a rate policy each group's rate is its own times the factor", "[trainer][optim]") {
  auto model = small_model();
  auto adam = grouped_adam(model);
  LocalTrainer trainer(model, DFA{}, {.epochs = 4}, adam, rate::Cosine{});

  run(trainer, 0, 5);  // the last one in epoch 2 of 4: half

  CHECK(adam->param_groups()[0].options().get_lr() == Approx(5e-3));
  CHECK(adam->param_groups()[1].options().get_lr() == Approx(5e-2));
  CHECK(trainer.rate() == Approx(5e-3));
}

TEMPLATE_TEST_CASE("a run under LibTorch's optimizer resumes to the bit", "[trainer][optim]", torch::optim::Adam,
                   torch::optim::RMSprop, torch::optim::SGD, torch::optim::AdamW) {
  const TemporaryFolder folder;
  const auto make = [](ResidualMLP& model) {
    std::unique_ptr<TestType> made;
    if constexpr (std::is_same_v<TestType, torch::optim::SGD>) {
      made = std::make_unique<TestType>(model->parameters(), torch::optim::SGDOptions(1e-2).momentum(0.9));
    } else {
      made = std::make_unique<TestType>(model->parameters(), 1e-2);
    }
    return LocalTrainer(model, DFA{}, {.epochs = 8, .seed = 7}, std::move(*made), rate::Cosine{});
  };
  auto model = small_model(), other = residual_mlp(torch::kFloat32, 9);
  auto first = make(model), resumed = make(other);

  run(first, 0, 3);
  first.save(folder / "checkpoint");
  run(first, 3, 7);
  run(resumed, 5, 6);
  resumed.load(folder / "checkpoint");
  run(resumed, 3, 7);

  CHECK(same(copies(model->parameters()), copies(other->parameters())));
  CHECK(first.rate() == resumed.rate());
}

TEST_CASE("a checkpoint of another optimizer is refused, and changes nothing", "[trainer][optim][errors]") {
  const TemporaryFolder folder;
  auto model = small_model(), other = small_model();
  LocalTrainer ours(model, DFA{}), adam(other, DFA{}, {}, grouped_adam(other));
  run(ours, 0, 2);
  run(adam, 0, 1);
  ours.save(folder / "ours");
  adam.save(folder / "adam");
  const auto before = copies(other->parameters());

  CHECK(says(error_of([&] { adam.load(folder / "ours"); }),
             {"optimizer.", "another model, credit source, optimizer or rate"}));
  CHECK(says(error_of([&] { ours.load(folder / "adam"); }), {"has no optimizer.mean.0"}));
  auto third = small_model();
  LocalTrainer one_group(third, DFA{}, {}, torch::optim::Adam(third->parameters(), 1e-2));
  CHECK(says(error_of([&] { one_group.load(folder / "adam"); }),
             {"optimizer.serialized, which the trainer cannot read"}));
  CHECK(same(copies(other->parameters()), before));
  CHECK(same(copies(third->parameters()), copies(small_model()->parameters())));
  run(one_group, 0, 1);
}

TEST_CASE("an optimizer that cannot train the model is refused with a sentence", "[trainer][optim][errors]") {
  auto model = small_model(), other = small_model();
  const auto refusal = [&](const TrainerOptions& options, auto optimizer) {
    return error_of([&] { LocalTrainer trainer(model, DFA{}, options, std::move(optimizer)); });
  };
  using torch::optim::Adam;

  CHECK(says(refusal({}, torch::optim::LBFGS(model->parameters())), {"The optimizer is LBFGS", "no closure"}));
  CHECK(says(refusal({}, Adam(other->parameters())), {"Parameter embed.weight is in none of the optimizer's"}));
  CHECK(says(refusal({}, Adam(model->readout_parameters())), {"in none of the optimizer's", "requires_grad_(false)"}));
  auto more = model->parameters();
  more.push_back(torch::zeros({2}));
  CHECK(says(refusal({}, Adam(more)), {"updates 1 tensors that are not parameters of the model"}));
  CHECK(says(refusal({.lr = 0.1}, Adam(model->parameters())), {"lr, weight_decay", "leave the options out"}));
  CHECK(says(refusal({}, std::shared_ptr<Adam>()), {"null pointer"}));
  for (auto& parameter : embed_and_blocks(model)) parameter.requires_grad_(false);
  CHECK(refusal({}, Adam(model->readout_parameters())) == "(nothing was thrown)");
}
