// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/data/batches.hpp>
#include <creditlib/data/digits.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/loss/penalized_inner_product.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/schedule/blend.hpp>
#include <creditlib/schedule/switch_at.hpp>
#include <memory>
#include <string>
#include <vector>

#include "../models.hpp"
#include "../sources.hpp"
#include "../temporary_folder.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Halves credit; it cannot do so with factors.
struct Halved {
  torch::Tensor operator()(torch::Tensor a) const { return a / 2; }
};

/// DFA that writes down whether it was asked for credit or for factors.
struct WatchedDFA {
  std::shared_ptr<std::string> asked = std::make_shared<std::string>();

  struct State : DFA::State {
    std::shared_ptr<std::string> asked;

    template <class Model>
    std::vector<torch::Tensor> credit(Model& model, const Trace& trace) const {
      *asked += "credit ";
      return DFA::State::credit(model, trace);
    }
    template <class Model>
    std::vector<FactoredCredit> factored_credit(Model& model, const Trace& trace) const {
      *asked += "factors ";
      return DFA::State::factored_credit(model, trace);
    }
  };

  template <class Model>
  State bind(Model& model, const BindContext& context) const {
    return {DFA{}.bind(model, context), asked};
  }
};

/// RowRms that writes down whether it was given credit or factors.
struct WatchedNormalizer : RowRms {
  std::shared_ptr<std::string> given = std::make_shared<std::string>();

  torch::Tensor operator()(const torch::Tensor& a) const {
    *given += "credit ";
    return RowRms::operator()(a);
  }
  FactoredCredit factored(const FactoredCredit& a) const {
    *given += "factors ";
    return RowRms::factored(a);
  }
};

/// Keeps every Trace that it is shown.
struct Keeper {
  std::shared_ptr<std::vector<Trace>> traces = std::make_shared<std::vector<Trace>>();
  std::vector<torch::Tensor> credit(auto&, const Trace& trace) const {
    traces->push_back(trace);
    return trace.hidden;
  }
};

/// A user's local loss that say nothing of factors.
struct PlainInnerProduct {
  torch::Tensor operator()(torch::Tensor f, torch::Tensor a) const { return (f * a).sum() / f.size(0); }
};

/// Distance of a step's gradients by formula to those by autograd, for a batch of this size and a model of so many
/// classes.
template <class... Policies>
double between_paths(torch::Dtype dtype, std::int64_t batch, std::int64_t classes, const Policies&... policies) {
  torch::manual_seed(3);
  auto model = lively(ResidualMLP({.input = 30, .width = 24, .classes = classes, .blocks = 3}), dtype);
  const auto x = torch::randn({batch, 30}).to(dtype), y = torch::randint(classes, {batch});
  LocalTrainer fastest(model, DFA{}, {}, policies...), generic(model, DFA{}, {.path = Path::Generic}, policies...);
  return distance(fastest.gradients(x, y), generic.gradients(x, y));
}

double tolerance(torch::Dtype dtype) { return dtype == torch::kFloat32 ? 1e-5 : 1e-11; }

}  // namespace

TEST_CASE("a trainer says which path it takes, and options force it", "[closed_form]") {
  auto mlp = small_model();
  auto linear = stages(Kind::plain), norms = stages(Kind::batch_norm), tokens = stages(Kind::tokens);

  CHECK(LocalTrainer(mlp, DFA{}).path() == Path::ClosedForm);
  CHECK(LocalTrainer(mlp, DFA{}, {.path = Path::ClosedForm}).path() == Path::ClosedForm);
  CHECK(LocalTrainer(mlp, DFA{}, {.path = Path::Generic}).path() == Path::Generic);
  CHECK(BackpropTrainer(mlp).path() == Path::ClosedForm);
  CHECK(BackpropTrainer(mlp, {.path = Path::Generic}).path() == Path::Generic);
  CHECK(LocalTrainer(linear, DFA{}).path() == Path::ClosedForm);
  CHECK(LocalTrainer(norms, DFA{}).path() == Path::Generic);
  CHECK(LocalTrainer(tokens, DFA{}).path() == Path::Generic);
  CHECK(says(error_of([&] { LocalTrainer(norms, DFA{}, {.path = Path::ClosedForm}); }),
             {"path is ClosedForm", "Path::Auto"}));
}

TEST_CASE("layers without a closed form, and shapes with positions, leave a model to autograd", "[closed_form]") {
  using namespace torch::nn;
  const auto path = [](Sequential block) {
    auto model = SequentialBlocks(SequentialBlocksOptions{
        .blocks = {block}, .readout = Sequential(Linear(5, 3)), .example = torch::zeros({1, 6})});
    return LocalTrainer(model, DFA{}).path();
  };

  CHECK(path(Sequential(Linear(6, 5), ReLU())) == Path::ClosedForm);
  CHECK(path(Sequential(Linear(LinearOptions(6, 5).bias(false)),
                        LayerNorm(LayerNormOptions({5}).elementwise_affine(false)))) == Path::ClosedForm);
  CHECK(path(Sequential(Linear(6, 5), ReLU(ReLUOptions(true)))) == Path::Generic);
  CHECK(path(Sequential(LayerNorm(LayerNormOptions({6})), Linear(6, 5))) == Path::ClosedForm);
  CHECK(path(Sequential(Linear(6, 5), Sigmoid())) == Path::Generic);
  CHECK(path(Sequential(Linear(6, 5), GELU(GELUOptions().approximate("tanh")))) == Path::Generic);
}

TEST_CASE("a model whose first stage has no linear layer, so that nothing says its width, is left to autograd",
          "[closed_form]") {
  using namespace torch::nn;
  auto model = SequentialBlocks(SequentialBlocksOptions{.embed = Sequential(LayerNorm(LayerNormOptions({6}))),
                                                        .blocks = {Sequential(Linear(6, 5), ReLU())},
                                                        .readout = Sequential(Linear(5, 4)),
                                                        .example = torch::zeros({1, 6})});
  LocalTrainer trainer(model, DFA{});

  CHECK(trainer.path() == Path::Generic);
  CHECK(error_of([&] { trainer.step(small_batch().x, small_batch().y); }) == "(nothing was thrown)");
}

TEST_CASE("every kind of layer has autograd's gradients", "[closed_form]") {
  using namespace torch::nn;
  const auto dtype = GENERATE(torch::kFloat32, torch::kFloat64);
  torch::manual_seed(4);
  auto model = lively(
      SequentialBlocks(SequentialBlocksOptions{
          .embed = Sequential(Flatten(), Linear(12, 19), LayerNorm(LayerNormOptions({19}))),
          .blocks = {Sequential(LayerNorm(LayerNormOptions({19})), Linear(19, 33), ReLU(), Linear(33, 19), Tanh()),
                     Sequential(Linear(LinearOptions(19, 19).bias(false)), GELU(),
                                LayerNorm(LayerNormOptions({19}).elementwise_affine(false))),
                     Sequential(Tanh(), LayerNorm(LayerNormOptions({19})), Linear(LinearOptions(19, 19).bias(false)))},
          .readout = Sequential(LayerNorm(LayerNormOptions({19})), Linear(19, 5)),
          .residual = true,
          .example = torch::zeros({1, 3, 4})}),
      dtype);
  const auto x = torch::randn({9, 3, 4}).to(dtype), y = torch::randint(5, {9});
  const auto between = [&](auto&& make) {
    return distance(make(Path::ClosedForm).gradients(x, y), make(Path::Generic).gradients(x, y));
  };

  CHECK(between([&](Path path) { return BackpropTrainer(model, {.path = path}); }) < tolerance(dtype));
  CHECK(between([&](Path path) { return BackpropTrainer(model, {.path = path}, CrossEntropy{}, 0.1); }) <
        tolerance(dtype));
  CHECK(between([&](Path path) { return LocalTrainer(model, DFA{}, {.path = path}); }) < tolerance(dtype));
  CHECK(between([&](Path path) { return LocalTrainer(model, FA{}, {.path = path}); }) < tolerance(dtype));
  CHECK(between([&](Path path) { return LocalTrainer(model, Oracle{}, {.path = path}, {}, Raw{}); }) <
        tolerance(dtype));
}

TEST_CASE("the numbers are those of autograd under every normalizer and local loss, whether factors pay or not",
          "[closed_form]") {
  const auto dtype = GENERATE(torch::kFloat32, torch::kFloat64);
  const auto [batch, classes] =
      GENERATE(std::pair{40, 3}, std::pair{4, 3}, std::pair{8, 60});  // pays; does not; more classes than features
  INFO("batch " << batch << ", " << classes << " classes");

  CHECK(between_paths(dtype, batch, classes, Always{}, RowRms{}) < tolerance(dtype));
  CHECK(between_paths(dtype, batch, classes, Always{}, Raw{}) < tolerance(dtype));
  CHECK(between_paths(dtype, batch, classes, Always{}, Halved{}) < tolerance(dtype));
  CHECK(between_paths(dtype, batch, classes, Always{}, RowRms{}, PenalizedInnerProduct{}) < tolerance(dtype));
  CHECK(between_paths(dtype, batch, classes, Always{}, RowRms{}, PlainInnerProduct{}) < tolerance(dtype));
}

TEST_CASE("credit stays factors where source, normalizer and loss can keep it so, and is dense elsewhere",
          "[closed_form]") {
  auto model = small_model();
  const auto [x, y] = small_batch();
  const auto asked = [&](TrainerOptions options, auto... policies) {
    const WatchedDFA rule;
    LocalTrainer(model, rule, options, Always{}, policies...).step(x, y);
    return *rule.asked;
  };
  const auto asked_in_mix = [&](auto schedule) {
    const WatchedDFA rule;
    LocalTrainer(model, Mix{rule, FA{}}, {}, schedule).step(x, y);
    return *rule.asked;
  };

  CHECK(asked({}) == "factors ");
  CHECK(asked({}, Raw{}) == "factors ");
  CHECK(asked({.path = Path::Generic}) == "credit ");
  CHECK(asked({}, Halved{}) == "credit ");
  CHECK(asked({}, RowRms{}, PenalizedInnerProduct{}) == "credit ");
  CHECK(asked({}, RowRms{}, PlainInnerProduct{}) == "credit ");
  CHECK(asked_in_mix(SwitchAt{.epoch = 1}) == "factors ");
  CHECK(asked_in_mix(Blend{}) == "credit ");
}

TEST_CASE("factors that save no work are multiplied out before they are normalised", "[closed_form]") {
  // 7 samples, 8 features: at most 2 classes save a quarter of the work.
  const auto normalised = [](std::int64_t classes, TrainerOptions options = {}) {
    torch::manual_seed(3);
    const WatchedNormalizer normalizer;
    LocalTrainer trainer(ResidualMLP({.input = 6, .width = 8, .classes = classes, .blocks = 1}), DFA{}, options,
                         Always{}, normalizer);
    trainer.step(torch::randn({7, 6}), torch::randint(classes, {7}));
    return *normalizer.given;
  };

  CHECK(normalised(2) == "factors factors ");
  CHECK(normalised(3) == "credit credit ");
  CHECK(normalised(100) == "credit credit ");
  CHECK(normalised(100, {.memory = Memory::Constant}) == "factors factors ");
}

TEST_CASE("scales of factored credit scale the step's gradients as they do the credit", "[closed_form]") {
  auto model = small_model();
  const auto batch = small_batch();
  const auto scale = torch::linspace(-1, 2, 7).unsqueeze(1);
  LocalTrainer factored(model, ChangedFactors{[&](auto& factors) {
                          for (auto& a : factors) a = a.scaled(scale).scaled(3.0);
                        }},
                        {}, {}, Raw{});
  LocalTrainer dense(model, DFA{}, {}, {}, Raw{});
  auto credits = dense.credits(batch.x, batch.y);
  for (auto& a : credits) a = a * scale * 3;
  LocalTrainer scaled(model, FixedCredit{credits}, {}, {}, Raw{});

  const auto got = factored.gradients(batch.x, batch.y), expected = scaled.gradients(batch.x, batch.y);

  for (std::size_t i = 0; i < expected.size(); ++i) CHECK(distance(got[i], expected[i]) < 1e-5);
}

TEST_CASE("frozen parameters are skipped, and the others train as they would", "[closed_form]") {
  auto model = residual_mlp(torch::kFloat64);
  const auto [x, y] = small_batch(torch::kFloat64);
  LocalTrainer fastest(model, DFA{}), generic(model, DFA{}, {.path = Path::Generic});
  const auto frozen = GENERATE(std::vector<std::string>{"blocks.1.ln.weight", "blocks.1.ln.bias", "blocks.1.w1.weight",
                                                        "blocks.1.w1.bias", "blocks.1.w2.weight", "blocks.1.w2.bias"},
                               std::vector<std::string>{"blocks.0.w1.weight"},
                               std::vector<std::string>{"blocks.0.ln.bias", "blocks.2.w1.bias"},
                               std::vector<std::string>{"embed.weight", "embed.bias", "out_head.weight"});
  for (const auto& name : frozen) model->named_parameters()[name].requires_grad_(false);

  const auto found = fastest.gradients(x, y);

  CHECK(distance(found, generic.gradients(x, y)) < 1e-11);
  std::size_t undefined = 0;
  for (const auto& gradient : found) undefined += !gradient.defined();
  CHECK(undefined == frozen.size());
}

TEST_CASE("a trainer goes on with parameters whose storage somebody replaced", "[closed_form]") {
  auto model = small_model();
  const auto batch = small_batch(), other = batch_for(Kind::residual_mlp, torch::kFloat32, 5, 12);
  LocalTrainer trainer(model, DFA{});
  trainer.step(batch.x, batch.y);
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.set_data(torch::randn_like(parameter));
    model->to(torch::kFloat64);
    model->to(torch::kFloat32);
  }

  LocalTrainer fresh(model, DFA{.feedback = trainer.state().feedback}, {.path = Path::Generic});
  const auto expected = fresh.gradients(other.x, other.y);
  CHECK(distance(trainer.gradients(other.x, other.y), expected) < 1e-5);

  trainer.step(other.x, other.y);  // in the buffers of the first step

  CHECK(distance(gradients_of(*model), expected) < 1e-5);
}

TEST_CASE("parameters that are a view into something larger are read as what they are", "[closed_form]") {
  auto model = small_model();
  const auto [x, y] = small_batch();
  for (auto& parameter : model->parameters()) {
    parameter.set_data(torch::stack({parameter.detach(), torch::randn_like(parameter)}, -1).select(-1, 0));
    REQUIRE(!parameter.is_contiguous());
  }
  LocalTrainer fastest(model, DFA{}), generic(model, DFA{}, {.path = Path::Generic});
  BackpropTrainer back(model), generic_back(model, {.path = Path::Generic});

  CHECK(distance(fastest.gradients(x, y), generic.gradients(x, y)) < 1e-5);
  CHECK(distance(back.gradients(x, y), generic_back.gradients(x, y)) < 1e-5);
}

TEST_CASE("two trainers of one model do not write into each other's gradients", "[closed_form]") {
  auto model = small_model();
  const auto [x, y] = small_batch();
  LocalTrainer first(model, DFA{}), second(model, DFA{}, {.seed = 8});
  first.step(x, y);
  second.step(x, y);
  const auto of_second = gradients_of(*model);
  std::vector<torch::Tensor> held;
  for (const auto& parameter : model->parameters()) held.push_back(parameter.grad());

  first.step(x, y);

  CHECK(same(copies(held), of_second));
}

TEST_CASE("a Trace that a user keeps is not written over by the next step", "[closed_form]") {
  const Keeper rule;
  LocalTrainer trainer(small_model(), rule);
  const auto batch = small_batch(), other = batch_for(Kind::residual_mlp, torch::kFloat32, 7, 12);
  trainer.step(batch.x, batch.y);
  const auto hidden = copies(rule.traces->front().hidden), branch = copies(rule.traces->front().branch);

  trainer.step(other.x, other.y);

  CHECK(same(copies(rule.traces->front().hidden), hidden));
  CHECK(same(copies(rule.traces->front().branch), branch));
  CHECK_FALSE(same(copies(rule.traces->back().hidden), hidden));
}

TEST_CASE("an input of a wrong size is refused in the model's own words", "[closed_form]") {
  LocalTrainer mlp(small_model(), DFA{});
  LocalTrainer linear(stages(Kind::plain), DFA{});
  const auto y = torch::zeros({6}, torch::kInt64);

  CHECK(error_of([&] { mlp.step(torch::zeros({6, 9}), y); }) ==
        "ResidualMLP: the input is (6, 9), expected 6 numbers per sample (ResidualMLPOptions::input), samples in "
        "dimension 0.");
  CHECK(error_of([&] { linear.step(torch::zeros({6, 9}), y); }).find("nothing was thrown") == std::string::npos);
  CHECK(error_of([&] { linear.step(torch::zeros({6, 1, 6}), y); }).find("hidden_shape(0)") != std::string::npos);
}

TEST_CASE("both paths train the digits alike for an epoch", "[closed_form]") {
  const auto digits = data::digits(CREDITLIB_DATA_DIR "/digits");
  // The training curve: the mean loss of ten steps, and of the next ten, ...
  const auto curve = [&](Path path, auto&& make) {
    torch::manual_seed(42);
    ResidualMLP model({.input = 64, .width = 64, .classes = 10, .blocks = 2});
    data::Batches train(digits.train, {.batch_size = 16, .flatten = true});
    auto trainer = make(model, path);
    std::vector<torch::Tensor> losses;
    for (const auto& [x, y] : train) losses.push_back(trainer.step(x, y).loss);
    const auto whole = static_cast<std::int64_t>(losses.size()) / 10 * 10;
    return torch::stack(losses).slice(0, 0, whole).view({-1, 10}).mean(1).to(torch::kFloat64);
  };
  const auto check = [&](auto&& make) {
    const auto fastest = curve(Path::ClosedForm, make), generic = curve(Path::Generic, make);
    REQUIRE(fastest.numel() > 5);
    CHECK(fastest[-1].template item<double>() < 0.9 * fastest[0].template item<double>());  // it learns
    CHECK((fastest / generic - 1).abs().max().template item<double>() < 2e-3);
  };

  check([](auto model, Path path) { return BackpropTrainer(model, {.path = path}); });
  check([](auto model, Path path) { return LocalTrainer(model, DFA{}, {.path = path}); });
  check([](auto model, Path path) { return LocalTrainer(model, FA{}, {.path = path}); });
}
