// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <numbers>

#include "local_trainer/gradients.hpp"
#include "models.hpp"
#include "temporary_folder.hpp"
#include "test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// The gradients of the mean cross-entropy by the model's own forward.
template <class Model>
std::vector<torch::Tensor> autograd_gradients(Model& model, const Batch& batch) {
  return torch::autograd::grad({torch::nn::functional::cross_entropy(model->forward(batch.x), batch.y)},
                               model->parameters());
}

/// Cross-entropy without `correct`.
struct Uncounted {
  torch::Tensor loss(const torch::Tensor& logits, const torch::Tensor& target) const {
    return CrossEntropy{}.loss(logits, target);
  }
  torch::Tensor error(const torch::Tensor& logits, const torch::Tensor& target) const {
    return CrossEntropy{}.error(logits, target);
  }
  void check(const torch::Tensor& logits, const torch::Tensor& target) const { CrossEntropy{}.check(logits, target); }
};

}  // namespace

TEST_CASE("BackpropTrainer's gradients are autograd's of the mean loss", "[backprop]") {
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64), again = stages(kind, torch::kFloat64);
    const auto batch = batch_for(kind, torch::kFloat64);
    BackpropTrainer trainer(model);
    torch::manual_seed(3);
    const auto expected = autograd_gradients(again, batch);

    torch::manual_seed(3);
    const auto shown = trainer.gradients(batch.x, batch.y);
    torch::manual_seed(3);
    trainer.step(batch.x, batch.y);

    CHECK(distance(shown, expected) < 1e-13);
    CHECK(same(gradients_of(*model), shown));
    CHECK(same(copies(model->buffers()), copies(again->buffers())));
  }
}

TEST_CASE("BackpropTrainer steps as torch.optim does, with the rate of its epoch", "[backprop]") {
  auto model = small_model(torch::kFloat64), other = small_model(torch::kFloat64);
  BackpropTrainer trainer(model, {.lr = 0.02, .weight_decay = 0.1, .epochs = 4});
  torch::optim::AdamW reference(other->parameters(), torch::optim::AdamWOptions(0.02).weight_decay(0.1));

  for (std::uint64_t i = 0; i < 4; ++i) {
    const auto batch = batch_for(Kind::residual_mlp, torch::kFloat64, 7, i);
    const double rate = 0.02 * (1 + std::cos(std::numbers::pi * static_cast<double>(i) / 4)) / 2;
    CHECK(trainer.rate() == Approx(rate));
    static_cast<torch::optim::AdamWOptions&>(reference.param_groups()[0].options()).lr(rate);
    const auto result = trainer.step(batch.x, batch.y);
    const auto logits = other->forward(batch.x);
    const auto loss = torch::nn::functional::cross_entropy(logits, batch.y);
    CHECK(result.loss.item<double>() == Approx(loss.item<double>()));
    CHECK_FALSE(result.loss.requires_grad());
    CHECK(result.correct.item<std::int64_t>() == logits.argmax(1).eq(batch.y).sum().item<std::int64_t>());
    reference.zero_grad();
    loss.backward();
    reference.step();
    trainer.end_epoch();
  }

  CHECK(distance(model->parameters(), other->parameters()) < 1e-11);
  CHECK(trainer.epoch() == 4);
  CHECK(trainer.steps() == 4);
}

TEST_CASE("BackpropTrainer clips each block alone", "[backprop]") {
  auto model = small_model(torch::kFloat64), other = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  BackpropTrainer open(other);
  open.step(batch.x, batch.y);
  std::vector<double> norms;
  for (std::int64_t l = 0; l < 3; ++l) norms.push_back(norm_of(gradients_of_parts(other->block_parameters(l))));
  std::sort(norms.begin(), norms.end());
  const double clip = (norms[0] + norms[1]) / 2;
  BackpropTrainer trainer(model, {.clip_norm = clip});

  trainer.step(batch.x, batch.y);

  for (std::int64_t l = 0; l < 3; ++l) torch::nn::utils::clip_grad_norm_(other->block_parameters(l), clip);
  CHECK(distance(gradients_of(*model), gradients_of(*other)) < 1e-13);
}

TEST_CASE("BackpropTrainer's previews change nothing", "[backprop]") {
  for (const auto kind : {Kind::batch_norm, Kind::dropout, Kind::conv}) {
    INFO("on " << name(kind));
    auto model = stages(kind), other = stages(kind);
    const auto batch = batch_for(kind);
    BackpropTrainer trainer(model);
    BackpropTrainer without(other);
    torch::manual_seed(3);
    const auto state = [&] {
      auto all = copies(model->parameters());
      for (const auto& buffer : model->buffers()) all.push_back(buffer.clone());
      for (auto& gradient : gradients_of(*model)) all.push_back(gradient);
      all.push_back(global_generator_state());
      return all;
    };
    const auto before = state();

    const auto credits = trainer.credits(batch.x, batch.y);
    CHECK(same(before, state()));
    CHECK(same(credits, trainer.raw_credits(batch.x, batch.y)));
    trainer.gradients(batch.x, batch.y);
    trainer.learn(batch.x, batch.y);
    CHECK(same(before, state()));
    for (const auto& a : credits) CHECK_FALSE(a.requires_grad());

    trainer.step(batch.x, batch.y);
    torch::manual_seed(3);
    without.step(batch.x, batch.y);
    CHECK(same(model->parameters(), other->parameters()));
  }
}

TEST_CASE("a resumed run of back-propagation is the uninterrupted one, to the bit", "[backprop][checkpoint]") {
  const TemporaryFolder folder;
  const auto optimizer = GENERATE(Optimizer::AdamW, Optimizer::SGD);
  const TrainerOptions options{.lr = 1e-2, .epochs = 3, .optimizer = optimizer};
  const auto train = [](auto& trainer, std::uint64_t seed) {
    torch::manual_seed(seed);
    for (std::uint64_t i = 0; i < 3; ++i) {
      const auto batch = batch_for(Kind::batch_norm, torch::kFloat32, 7, seed + i);
      trainer.step(batch.x, batch.y);
    }
    trainer.end_epoch();
  };
  auto model = stages(Kind::batch_norm), other = stages(Kind::batch_norm, torch::kFloat32, 5);
  BackpropTrainer first(model, options);
  BackpropTrainer resumed(other, options);
  train(first, 20);
  first.save(folder / "saved");
  train(first, 30);

  train(resumed, 40);
  resumed.load(folder / "saved");
  train(resumed, 30);

  CHECK(same(model->parameters(), other->parameters()));
  CHECK(same(copies(model->buffers()), copies(other->buffers())));
  CHECK(resumed.epoch() == 2);
  CHECK(resumed.steps() == 6);
}

TEST_CASE("BackpropTrainer takes any objective, and counts where it can", "[backprop]") {
  auto model = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  const auto target = torch::randn({7, small_classes}, torch::kFloat64);
  const auto loss = (model->forward(batch.x) - target).square().sum(1).mean() / 2;
  const auto expected = torch::autograd::grad({loss}, model->parameters());
  BackpropTrainer squared(model, {}, SquaredError{});
  BackpropTrainer uncounted(model, {}, Uncounted{});

  CHECK(distance(squared.gradients(batch.x, target), expected) < 1e-13);
  CHECK(squared.step(batch.x, target).loss.item<double>() == Approx(loss.item<double>()));
  CHECK(uncounted.step(batch.x, batch.y).correct.item<std::int64_t>() == 0);
}

TEST_CASE("with ClipScope::All BackpropTrainer clips all gradients together, but those of frozen parameters",
          "[backprop]") {
  auto model = small_model(torch::kFloat64), other = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  for (auto& each : {model, other}) {
    for (auto parameter : each->block_parameters(1)) parameter.set_requires_grad(false);
  }
  BackpropTrainer open(other);
  const auto whole = open.gradients(batch.x, batch.y);
  std::vector<torch::Tensor> reached;
  for (const auto& gradient : whole) {
    if (gradient.defined()) reached.push_back(gradient);
  }
  const double clip = norm_of(reached) / 4;
  BackpropTrainer trainer(model, {.clip_norm = clip, .clip_scope = ClipScope::All});

  const auto shown = trainer.gradients(batch.x, batch.y);
  trainer.step(batch.x, batch.y);

  const double factor = clip / (4 * clip + 1e-6);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    CHECK(distance(shown[i], whole[i].defined() ? whole[i] * factor : whole[i]) < 1e-12);
  }
  CHECK(same(gradients_of(*model), shown));
  CHECK(reached.size() < whole.size());
}

TEST_CASE("a branch penalty is in the gradients, and not in the loss that a step tells", "[backprop]") {
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64), again = stages(kind, torch::kFloat64);
    const auto batch = batch_for(kind, torch::kFloat64);
    torch::manual_seed(3);
    torch::Tensor penalty = torch::zeros({}, torch::kFloat64), h = again->embed(batch.x);
    for (std::int64_t l = 0; l < again->blocks(); ++l) {
      const auto f = again->block(l, h);
      penalty = penalty + f.square().sum() / 7;
      h = again->join(l, h, f);
    }
    const auto loss = torch::nn::functional::cross_entropy(again->readout(h), batch.y);
    const auto expected = torch::autograd::grad({loss + 0.3 * penalty}, again->parameters());
    BackpropTrainer trainer(model, {}, {}, 0.3);

    torch::manual_seed(3);
    const auto shown = trainer.gradients(batch.x, batch.y);
    torch::manual_seed(3);
    const auto result = trainer.step(batch.x, batch.y);

    CHECK(distance(shown, expected) < 1e-11);
    CHECK(same(gradients_of(*model), shown));
    CHECK(result.loss.item<double>() == Approx(loss.item<double>()));
  }
}

TEST_CASE("BackpropTrainer leaves frozen parameters, grad mode and train mode alone, and moves", "[backprop]") {
  auto model = stages(Kind::batch_norm);
  model->eval();
  const auto batch = batch_for(Kind::batch_norm);
  for (auto parameter : model->block_parameters(0)) parameter.set_requires_grad(false);
  const auto before = copies(model->block_parameters(0));
  BackpropTrainer made(model, {.lr = 0.1});
  BackpropTrainer trainer = std::move(made);

  {
    const torch::NoGradGuard no_grad;
    trainer.step(batch.x, batch.y);
    CHECK_FALSE(torch::GradMode::is_enabled());
  }

  CHECK(same(before, copies(model->block_parameters(0))));
  CHECK(model->embed_parameters()[0].grad().abs().max().item<double>() > 0);
  for (const auto& module : model->modules()) CHECK_FALSE(module->is_training());
  STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<BackpropTrainer<ResidualMLP>>);
}

TEST_CASE("credits of back-propagation are gradients in the hidden states, also where a layer works in place",
          "[backprop]") {
  const auto make = [](bool in_place) {
    torch::manual_seed(5);
    return SequentialBlocks({.embed = torch::nn::Sequential(torch::nn::Linear(6, 5)),
                             .blocks = {torch::nn::Sequential(
                                 torch::nn::ReLU(torch::nn::ReLUOptions().inplace(in_place)), torch::nn::Linear(5, 5))},
                             .readout = torch::nn::Sequential(torch::nn::Linear(5, 4)),
                             .example = torch::zeros({1, 6})});
  };
  const auto batch = small_batch();
  auto plain = make(false), in_place = make(true);
  BackpropTrainer first(plain);
  BackpropTrainer second(in_place);

  CHECK(distance(first.gradients(batch.x, batch.y), second.gradients(batch.x, batch.y)) < 1e-6);
  // Either the same credit, or an Error: never that of another place in silence.
  std::vector<torch::Tensor> credits;
  const auto message = error_of([&] { credits = second.credits(batch.x, batch.y); });
  CHECK((says(message, {"in place"}) || distance(first.credits(batch.x, batch.y), credits) < 1e-6));
}
