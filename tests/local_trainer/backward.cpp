// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/equilibrium_propagation.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/optimizer/adamw.hpp>
#include <creditlib/optimizer/sgd.hpp>
#include <creditlib/schedule/blend.hpp>
#include <string>
#include <vector>

#include "../models.hpp"
#include "../rules.hpp"
#include "../sources.hpp"
#include "../temporary_folder.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

std::vector<torch::Tensor> buffers_of(torch::nn::Module& module) { return copies(module.buffers()); }

/// How zero_grad leaves a gradient.
enum class Zeroed { None, Zero };

void zero_gradients(torch::nn::Module& module, Zeroed how) { module.zero_grad(/*set_to_none=*/how == Zeroed::None); }

/// The gradients of a batch in one backward, and of its halves in two.
template <class Trainer>
void check_accumulation(Trainer& trainer, Kind kind, Zeroed how) {
  auto& module = *trainer.model();
  const auto batch = batch_for(kind, torch::kFloat64, 8);
  zero_gradients(module, how);
  trainer.backward(batch.x, batch.y);
  const auto whole = gradients_of(module);
  trainer.end_step();
  zero_gradients(module, how);

  for (std::int64_t half = 0; half < 2; ++half) {
    trainer.backward(batch.x.narrow(0, 4 * half, 4), batch.y.narrow(0, 4 * half, 4));
  }
  auto halves = gradients_of(module);
  for (auto& gradient : halves) gradient = gradient / 2;  // each is of a mean over 4
  trainer.end_step();

  CHECK(distance(halves, whole) < 1e-12);
}

template <class Rule>
void check_accumulation_of(const Rule& rule, Kind kind, Path path) {
  const auto how = GENERATE(Zeroed::None, Zeroed::Zero);
  const TrainerOptions options{.seed = 7, .path = path};
  if (kind == Kind::residual_mlp) {
    auto model = residual_mlp(torch::kFloat64);
    LocalTrainer trainer(model, rule, options);
    check_accumulation(trainer, kind, how);
  } else {
    auto model = stages(kind, torch::kFloat64);
    LocalTrainer trainer(model, rule, options);
    check_accumulation(trainer, kind, how);
  }
}

}  // namespace

TEST_CASE("gradients of k batches add up to k times those of the batch that they are parts of", "[trainer]") {
  const auto path = GENERATE(Path::Auto, Path::Generic);
  const auto kind = GENERATE(Kind::residual_mlp, Kind::plain, Kind::tokens, Kind::no_embed);
  CAPTURE(name(kind));

  check_accumulation_of(DFA{}, kind, path);
  check_accumulation_of(FA{}, kind, path);
  check_accumulation_of(Oracle{}, kind, path);
  check_accumulation_of(TargetProjection{}, kind, path);
}

TEST_CASE("so do those of back-propagation", "[trainer]") {
  const auto path = GENERATE(Path::Auto, Path::Generic);
  const auto how = GENERATE(Zeroed::None, Zeroed::Zero);
  auto model = residual_mlp(torch::kFloat64);
  BackpropTrainer trainer(model, {.path = path}, CrossEntropy{}, /*branch_penalty=*/0.1);

  check_accumulation(trainer, Kind::residual_mlp, how);
}

TEST_CASE("LibTorch's optimizers zero what backward and step leave in .grad", "[trainer]") {
  const auto kind = GENERATE(from_range(every_kind));
  const auto set_to_none = GENERATE(true, false);
  CAPTURE(name(kind));
  const auto batch = batch_for(kind);
  const auto check = [&](auto model) {
    LocalTrainer trainer(model, DFA{});
    torch::optim::Adam adam(model->parameters());
    const auto check_zeroed = [&] {
      adam.zero_grad(set_to_none);
      for (const auto& parameter : model->parameters()) {
        CHECK(parameter.grad().defined() != set_to_none);
        if (parameter.grad().defined()) CHECK(parameter.grad().count_nonzero().template item<std::int64_t>() == 0);
      }
    };

    trainer.backward(batch.x, batch.y);
    check_zeroed();
    trainer.end_step();
    trainer.step(batch.x, batch.y);
    check_zeroed();
  };

  if (kind == Kind::residual_mlp) {
    check(residual_mlp());
  } else {
    check(stages(kind));
  }
}

TEST_CASE("backward adds to what .grad holds, updates nothing, and moves running statistics as a step does",
          "[trainer]") {
  auto model = stages(Kind::batch_norm), stepped = stages(Kind::batch_norm);
  const auto batch = batch_for(Kind::batch_norm), second = batch_for(Kind::batch_norm, torch::kFloat32, 7, 12);
  LocalTrainer trainer(model, DFA{}, {.seed = 7}), other(stepped, DFA{}, {.lr = 0, .weight_decay = 0, .seed = 7});
  const auto parameters = copies(model->parameters()), statistics = buffers_of(*model);
  for (auto& parameter : model->parameters()) parameter.mutable_grad() = torch::ones_like(parameter);

  const auto result = trainer.backward(batch.x, batch.y);
  trainer.backward(second.x, second.y);
  const auto expected = other.step(batch.x, batch.y);
  auto gradients = gradients_of(*stepped);
  other.step(second.x, second.y);
  const auto of_second = gradients_of(*stepped);
  for (std::size_t i = 0; i < gradients.size(); ++i) gradients[i] = gradients[i] + 1 + of_second[i];

  CHECK(distance(gradients_of(*model), gradients) < 1e-6);
  CHECK(torch::equal(result.loss, expected.loss));
  CHECK(torch::equal(result.correct, expected.correct));
  CHECK(same(copies(model->parameters()), parameters));
  CHECK(same(buffers_of(*model), buffers_of(*stepped)));  // two updates of the running statistics
  CHECK_FALSE(same(buffers_of(*model), statistics));
  CHECK(trainer.steps() == 0);
}

TEMPLATE_TEST_CASE("backward, the optimizer's step and end_step are a step, to the bit", "[trainer]", DFA, FA, Oracle,
                   LearnedProjection) {
  const auto kind = GENERATE(Kind::residual_mlp, Kind::batch_norm, Kind::dropout);
  const auto path = GENERATE(Path::Auto, Path::Generic);
  const std::optional<double> clip_norm = GENERATE(std::optional<double>(), std::optional<double>(0.01));
  const TrainerOptions options{.clip_norm = clip_norm, .seed = 7, .rate = Rate::Constant, .path = path};
  const auto run = [&](auto model, auto step) {
    LocalTrainer trainer(model, TestType{}, options);
    optim::AdamW own(model->parameters(), {.lr = options.lr, .weight_decay = options.weight_decay});
    torch::manual_seed(3);
    for (std::uint64_t i = 0; i < 4; ++i) {
      const auto batch = batch_for(kind, torch::kFloat32, 7, i);
      step(trainer, own, batch);
    }
    CHECK(trainer.steps() == 4);
    auto state = copies(model->parameters());
    for (auto& buffer : buffers_of(*model)) state.push_back(buffer);
    return state;
  };
  const auto as_step = [](auto& trainer, auto&, const Batch& batch) { trainer.step(batch.x, batch.y); };
  const auto in_parts = [](auto& trainer, auto& own, const Batch& batch) {
    trainer.model()->zero_grad(/*set_to_none=*/batch.y[0].template item<std::int64_t>() % 2 == 0);
    trainer.backward(batch.x, batch.y);
    own.step();
    trainer.end_step();
  };

  if (kind == Kind::residual_mlp) {
    CHECK(same(run(residual_mlp(), as_step), run(residual_mlp(), in_parts)));
  } else {
    CHECK(same(run(stages(kind), as_step), run(stages(kind), in_parts)));
  }
}

TEST_CASE("a step of back-propagation is backward, update and end_step too", "[trainer]") {
  auto model = residual_mlp(), other = residual_mlp();
  const TrainerOptions options{.clip_norm = 0.1, .rate = Rate::Constant};
  BackpropTrainer trainer(model, options), parts(other, options);
  optim::AdamW own(other->parameters(), {.lr = options.lr, .weight_decay = options.weight_decay});

  for (std::uint64_t i = 0; i < 3; ++i) {
    const auto batch = batch_for(Kind::residual_mlp, torch::kFloat32, 7, i);
    trainer.step(batch.x, batch.y);
    other->zero_grad();
    parts.backward(batch.x, batch.y);
    own.step();
    parts.end_step();
  }

  CHECK(same(copies(model->parameters()), copies(other->parameters())));
}

TEST_CASE("backward learns and shows no update; end_step shows it, once, with the observer after it", "[trainer]") {
  auto model = small_model();
  const auto batch = small_batch();
  Recorder recorder;
  LocalTrainer trainer(model, recorder);
  std::vector<std::int64_t> observed;
  trainer.observe(1, [&](auto& watched, const torch::Tensor& x, const torch::Tensor&) {
    CHECK(torch::equal(x, batch.x));
    observed.push_back(watched.steps());
  });

  trainer.backward(small_batch().x, batch.y);
  trainer.backward(batch.x, batch.y);
  CHECK(*recorder.calls == std::vector<std::string>{"credit", "learn", "credit", "learn"});
  CHECK(observed.empty());
  trainer.end_step();

  CHECK(*recorder.calls == std::vector<std::string>{"credit", "learn", "credit", "learn", "after_step"});
  CHECK(observed == std::vector<std::int64_t>{1});
  CHECK(trainer.steps() == 1);
}

TEST_CASE("calls out of order are refused: nothing is silently lost", "[trainer][errors]") {
  const TemporaryFolder folder;
  auto model = small_model();
  const auto batch = small_batch();
  LocalTrainer trainer(model, DFA{});

  CHECK(says(error_of([&] { trainer.end_step(); }), {"end_step: there was no backward since the last step"}));
  trainer.save(folder / "before");
  trainer.backward(batch.x, batch.y);
  CHECK(
      says(error_of([&] { trainer.step(batch.x, batch.y); }), {"step: backward was called", "call end_step() first"}));
  CHECK(says(error_of([&] { trainer.save(folder / "within"); }), {"save: backward was called"}));
  CHECK_FALSE(std::filesystem::exists(folder / "within"));
  trainer.credits(batch.x, batch.y);  // looking is allowed
  trainer.end_step();
  CHECK(says(error_of([&] { trainer.end_step(); }), {"no backward"}));
  trainer.backward(batch.x, batch.y);
  trainer.load(folder / "before");  // a new start
  trainer.step(batch.x, batch.y);
  CHECK(trainer.steps() == 1);
}

TEST_CASE("a backward that fails leaves .grad and running statistics as they were", "[trainer][errors]") {
  auto model = stages(Kind::batch_norm);
  const auto batch = batch_for(Kind::batch_norm);
  FixedCredit none;
  LocalTrainer trainer(model, none);
  LocalTrainer good(model, DFA{});
  good.backward(batch.x, batch.y);
  const auto gradients = gradients_of(*model), statistics = buffers_of(*model);

  CHECK(says(error_of([&] { trainer.backward(batch.x, batch.y); }), {"The credit source gave 0"}));

  CHECK(same(gradients_of(*model), gradients));
  CHECK(same(buffers_of(*model), statistics));
  CHECK(says(error_of([&] { trainer.end_step(); }), {"no backward"}));
}

TEST_CASE("looking at credits between two backwards leaves what has accumulated", "[trainer]") {
  auto model = small_model();
  const auto batch = small_batch();
  LocalTrainer trainer(model, DFA{});
  trainer.backward(batch.x, batch.y);
  const auto gradients = gradients_of(*model);

  trainer.gradients(batch.x, batch.y);
  trainer.credits(batch.x, batch.y);

  CHECK(same(gradients_of(*model), gradients));
  for (const auto& gradient : gradients) CHECK(gradient.defined());
}

TEST_CASE("parameters that are added have gradients of their own, which accumulate apart", "[trainer]") {
  /// Scales by the sum of two weights: both get one and the same gradient.
  struct SumImpl : torch::nn::Module {
    SumImpl()
        : first(register_parameter("first", torch::full({6}, 0.5))),
          second(register_parameter("second", torch::full({6}, 0.5))) {}
    torch::Tensor forward(const torch::Tensor& h) { return h * (first + second); }
    torch::Tensor first, second;
  };
  using namespace torch::nn;
  torch::manual_seed(1);
  const auto weights = std::make_shared<SumImpl>();
  SequentialBlocks model({.blocks = {Sequential(weights), Sequential(Linear(6, 6), GELU())},
                          .readout = Sequential(Linear(6, small_classes)),
                          .example = torch::zeros({1, 6})});
  model->to(torch::kFloat64);
  LocalTrainer trainer(model, DFA{}, {.lr = 0});
  const auto batch = small_batch(torch::kFloat64);
  trainer.step(batch.x, batch.y);
  const auto once = weights->first.grad().clone();
  REQUIRE(once.norm().item<double>() > 0);

  model->zero_grad(/*set_to_none=*/false);
  for (int i = 0; i < 3; ++i) trainer.backward(batch.x, batch.y);

  CHECK(distance(weights->first.grad(), 3 * once) < 1e-12);
  CHECK(distance(weights->second.grad(), 3 * once) < 1e-12);
}
