// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <fstream>
#include <numbers>

#include "models.hpp"
#include "rules.hpp"
#include "sources.hpp"
#include "temporary_folder.hpp"
#include "test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// All that an error must leave alone.
std::vector<torch::Tensor> everything(torch::nn::Module& module) {
  auto all = copies(module.parameters());
  for (const auto& buffer : module.buffers()) all.push_back(buffer.clone());
  for (auto& gradient : gradients_of(module)) all.push_back(gradient);
  all.push_back(global_generator_state());
  return all;
}

/// What every member that takes a batch says of it, the same from all; "" where they differ, or where one has changed
/// the model.
template <class Trainer>
std::string refusal(Trainer& trainer, const torch::Tensor& x, const torch::Tensor& y) {
  const auto before = everything(*trainer.model());
  const auto message = error_of([&] { trainer.step(x, y); });
  for (const auto& other : {error_of([&] { trainer.credits(x, y); }), error_of([&] { trainer.raw_credits(x, y); }),
                            error_of([&] { trainer.gradients(x, y); }), error_of([&] { trainer.learn(x, y); })}) {
    if (other != message) return "";
  }
  return same(before, everything(*trainer.model())) && trainer.steps() == 1 ? message : "";
}

template <class Trainer>
void check_refusals(Trainer& trainer) {
  const auto [x, y] = batch_for(Kind::batch_norm);
  trainer.step(x, y);
  const auto on_meta = torch::TensorOptions().device(torch::kMeta);

  CHECK(says(refusal(trainer, x.to(torch::kFloat64), y),
             {"x is (7, 6) float64 on cpu", "the model is float32 on cpu", "x.to("}));
  CHECK(says(refusal(trainer, x.to(on_meta), y), {"on meta", "the model is float32 on cpu"}));
  CHECK(says(refusal(trainer, torch::Tensor(), y), {"x is undefined"}));
  CHECK(says(refusal(trainer, torch::zeros({}), y), {"x is ()", "at least one sample"}));
  CHECK(says(refusal(trainer, x.narrow(0, 0, 0), y.narrow(0, 0, 0)), {"x is (0, 6)", "at least one sample"}));
  CHECK(says(refusal(trainer, x, torch::Tensor()), {"target is undefined"}));
  CHECK(says(refusal(trainer, x, y.narrow(0, 0, 6)), {"target is (6) int64", "each of the 7 samples"}));
  CHECK(says(refusal(trainer, x, y + 3), {"label is", "expected 0..3", "4 classes"}));
  CHECK(says(refusal(trainer, x, y - 4), {"label is -4", "expected 0..3"}));
  CHECK(says(refusal(trainer, x, y.to(torch::kFloat32)), {"target is (7) float32", "int64"}));
  CHECK(says(refusal(trainer, x, y.to(on_meta)), {"meta"}));
  CHECK(says(refusal(trainer, torch::zeros({7, 5}), y), {"shapes cannot be multiplied"}));
  CHECK(refusal(trainer, x, y) == "");  // and a good batch is not refused
}

/// A network that says and does what a test wants.
struct OddNetwork : torch::nn::Module {
  explicit OddNetwork(std::int64_t logits = 4, std::int64_t hidden = 5, bool in_embed = false, bool everywhere = true,
                      bool foreign = false)
      : hidden_(hidden), in_embed_(in_embed), everywhere_(everywhere), foreign_(foreign) {
    first = register_module("first", torch::nn::Linear(6, 5));
    second = register_module("second", torch::nn::Linear(5, logits));
  }
  torch::Tensor embed(torch::Tensor x) { return x; }
  std::int64_t blocks() const { return 1; }
  torch::Tensor block(std::int64_t, torch::Tensor h) { return first(h); }
  torch::Tensor join(std::int64_t, torch::Tensor, torch::Tensor f) { return f; }
  torch::Tensor readout(torch::Tensor h) { return second(h); }
  torch::Tensor forward(torch::Tensor x) { return readout(block(0, x)); }
  std::int64_t classes() const { return 4; }
  std::vector<std::int64_t> hidden_shape(std::int64_t l) const { return {l == 0 ? 6 : hidden_}; }
  std::vector<torch::Tensor> embed_parameters() const {
    return in_embed_ ? first->parameters() : std::vector<torch::Tensor>{};
  }
  std::vector<torch::Tensor> block_parameters(std::int64_t) const { return first->parameters(); }
  std::vector<torch::Tensor> readout_parameters() const {
    if (foreign_) return {torch::zeros({2, 2})};
    return everywhere_ ? second->parameters() : std::vector<torch::Tensor>{second->weight};
  }
  std::int64_t hidden_;
  bool in_embed_, everywhere_, foreign_;
  torch::nn::Linear first = nullptr, second = nullptr;
};

struct EmptyNetwork : OddNetwork {};

template <class Model>
std::string trainer_refusal(const Model& model) {
  const auto local = error_of([&] { LocalTrainer(model, DFA{}); });
  const auto whole = error_of([&] { BackpropTrainer{model}; });
  return local == whole ? local : "LocalTrainer: " + local + "\nBackpropTrainer: " + whole;
}

}  // namespace

TEST_CASE("LocalTrainer refuses a batch that does not fit and changes nothing", "[errors]") {
  auto model = stages(Kind::batch_norm);
  LocalTrainer trainer(model, DFA{});
  check_refusals(trainer);
}

TEST_CASE("LocalTrainer with pullbacks refuses the same", "[errors]") {
  auto model = stages(Kind::batch_norm);
  LocalTrainer trainer(model, Oracle{});
  check_refusals(trainer);
}

TEST_CASE("BackpropTrainer refuses a batch that does not fit and changes nothing", "[errors]") {
  auto model = stages(Kind::batch_norm);
  BackpropTrainer trainer(model);
  const auto [x, y] = batch_for(Kind::batch_norm);
  trainer.step(x, y);
  const auto message = [&](const torch::Tensor& a, const torch::Tensor& b) {
    const auto before = everything(*model);
    const auto said = error_of([&] { trainer.step(a, b); });
    CHECK(error_of([&] { trainer.credits(a, b); }) == said);
    CHECK(error_of([&] { trainer.gradients(a, b); }) == said);
    CHECK(same(before, everything(*model)));
    return said;
  };

  CHECK(says(message(x.to(torch::kFloat64), y), {"x is (7, 6) float64 on cpu", "the model is float32 on cpu"}));
  CHECK(says(message(x.narrow(0, 0, 0), y.narrow(0, 0, 0)), {"x is (0, 6)"}));
  CHECK(says(message(x, y + 3), {"label is", "expected 0..3"}));
  CHECK(says(message(x, y.narrow(0, 0, 6)), {"each of the 7 samples"}));
  CHECK(says(error_of([&] { trainer.learn(x, y + 3); }), {"expected 0..3"}));
  CHECK(says(message(torch::zeros({7, 5}), y), {"shapes cannot be multiplied"}));
}

TEST_CASE("a target of SquaredError that does not fit is refused", "[errors]") {
  auto model = small_model();
  const auto x = small_batch().x;
  LocalTrainer trainer(model, DFA{}, {}, {}, {}, {}, SquaredError{});

  CHECK(says(error_of([&] { trainer.step(x, torch::zeros({7, 3})); }),
             {"SquaredError", "(7, 3) float32", "(7, 4) float32"}));
  CHECK(says(error_of([&] { trainer.step(x, torch::zeros({7, 4}, torch::kFloat64)); }), {"float64", "float32"}));
  CHECK(error_of([&] { trainer.step(x, torch::zeros({7, 4})); }) == "(nothing was thrown)");
}

TEST_CASE("a width that ResidualMLP does not have is refused before anything is changed", "[errors]") {
  auto model = small_model();
  LocalTrainer trainer(model, DFA{});

  CHECK(says(error_of([&] { trainer.step(torch::zeros({7, 9}), small_batch().y); }),
             {"(7, 9)", "expected 6 numbers per sample"}));
  CHECK(trainer.steps() == 0);
}

TEST_CASE("credits that do not fit are refused with what was expected, and the parameters stay", "[errors]") {
  auto model = stages(Kind::conv);
  const auto batch = batch_for(Kind::conv);
  const auto before = copies(model->parameters());
  const std::vector<torch::Tensor> right{torch::zeros({7, 3, 6, 6}), torch::zeros({7, 5, 1, 1}),
                                         torch::zeros({7, 4, 3, 3})};
  const auto message = [&](std::size_t l, const torch::Tensor& credit) {
    auto credits = right;
    if (l < 3) credits[l] = credit;
    if (l == 3) credits.pop_back();
    LocalTrainer trainer(model, FixedCredit{credits});
    const auto said = error_of([&] { trainer.step(batch.x, batch.y); });
    CHECK(same(before, copies(model->parameters())) == (said != "(nothing was thrown)"));
    return said;
  };

  CHECK(says(message(1, torch::zeros({7, 6, 1, 1})),
             {"credit 1 as (7, 6, 1, 1) float32", "expected (7, 5, 6, 6) float32", "output of block 0"}));
  CHECK(says(message(2, torch::zeros({1, 4, 3, 3})),
             {"credit 2 as (1, 4, 3, 3)", "expected (7, 4, 3, 3)", "output of block 1"}));
  CHECK(says(message(2, torch::zeros({7, 4})), {"credit 2 as (7, 4) float32"}));
  CHECK(says(message(0, torch::zeros({7, 3, 6, 6}, torch::kFloat64)), {"credit 0 as (7, 3, 6, 6) float64", "h_0"}));
  CHECK(says(message(0, torch::zeros({7, 3, 6, 6}, torch::kMeta)), {"on meta"}));
  CHECK(says(message(2, torch::Tensor()), {"credit 2 as undefined"}));
  CHECK(says(message(0, torch::Tensor()), {"no credit for h_0"}));
  CHECK(says(message(3, {}), {"gave 2 credits, expected 3"}));
  CHECK(message(4, {}) == "(nothing was thrown)");
}

TEST_CASE("factors of credit that do not fit are refused with what was expected, and the parameters stay", "[errors]") {
  auto model = small_model();
  const auto batch = small_batch();
  const auto before = copies(model->parameters());
  const auto message = [&](std::function<void(std::vector<FactoredCredit>&)> change) {
    LocalTrainer trainer(model, ChangedFactors{std::move(change)});
    const auto said = error_of([&] { trainer.step(batch.x, batch.y); });
    CHECK(same(before, copies(model->parameters())) == (said != "(nothing was thrown)"));
    return said;
  };

  CHECK(says(message([](auto& a) { a.pop_back(); }), {"factored_credit gave", "one for each of h_0..h_L"}));
  CHECK(says(message([](auto& a) { a[1].left = torch::zeros({6, 4}); }),
             {"credit 1 as (6, 4) float32", "expected (7, r)"}));
  CHECK(says(message([](auto& a) { a[2].right = torch::zeros({5, 3}); }), {"credit 2", "times (5, 3) float32"}));
  CHECK(says(message([](auto& a) { a[2].scale = torch::ones({7}); }), {"scaled by (7) float32", "1 or (7, 1)"}));
  CHECK(says(message([](auto& a) { a[0].scale = torch::ones({7, 1}, torch::kFloat64); }),
             {"credit 0", "scaled by (7, 1) float64"}));
  CHECK(message([](auto& a) { a[1].scale = torch::ones({7, 1}); }) == "(nothing was thrown)");
}

TEST_CASE("a model whose parts do not hold every parameter is refused by the parameter's name", "[errors]") {
  CHECK(trainer_refusal(std::make_shared<OddNetwork>(4, 5, true)) == "(nothing was thrown)");  // in two of them
  CHECK(says(trainer_refusal(std::make_shared<OddNetwork>(4, 5, false, false)),
             {"second.bias is in no part", "readout_parameters()"}));
  CHECK(says(trainer_refusal(std::make_shared<OddNetwork>(4, 5, false, true, true)),
             {"readout_parameters() lists", "(2, 2)", "register"}));
  CHECK(trainer_refusal(std::make_shared<OddNetwork>()) == "(nothing was thrown)");
}

TEST_CASE("a model of two dtypes, or none at all, is refused", "[errors]") {
  auto mixed = small_model();
  mixed->named_parameters()["blocks.1.w1.weight"].set_data(torch::zeros({5, 5}, torch::kFloat64));

  CHECK(says(trainer_refusal(mixed), {"blocks.1.w1.weight is (5, 5) float64", "embed.weight is (5, 6) float32"}));
  CHECK(says(trainer_refusal(std::shared_ptr<OddNetwork>()), {"model"}));
  CHECK(trainer_refusal(ResidualMLP(nullptr)) != "(nothing was thrown)");
}

TEST_CASE("a network without blocks is for back-propagation alone", "[errors]") {
  auto model = ResidualMLP({.input = 6, .width = 5, .classes = small_classes, .blocks = 0});
  const auto batch = small_batch();
  BackpropTrainer back(model);

  CHECK(says(error_of([&] { LocalTrainer(model, DFA{}); }), {"no blocks", "BackpropTrainer"}));
  CHECK(error_of([&] { back.step(batch.x, batch.y); }) == "(nothing was thrown)");
}

TEST_CASE("a model that does not do as it says is found at the first step", "[errors]") {
  const auto batch = small_batch();
  const auto message = [&](const std::shared_ptr<OddNetwork>& model) {
    const auto before = copies(model->parameters());
    LocalTrainer trainer(model, FixedCredit{{torch::zeros({7, 6}), torch::zeros({7, 5})}});
    const auto said = error_of([&] { trainer.step(batch.x, batch.y); });
    CHECK(same(before, model->parameters()));
    return said;
  };

  CHECK(says(message(std::make_shared<OddNetwork>(4, 8)), {"h_1 is (7, 5), expected (7, 8)", "hidden_shape(1)"}));
  CHECK(says(message(std::make_shared<OddNetwork>(3)), {"logits are (7, 3), expected (7, 4)", "classes()"}));
}

TEST_CASE("a model that has moved to another dtype since is refused, until it is back", "[errors]") {
  auto model = small_model();
  const auto batch = small_batch(), twice = small_batch(torch::kFloat64);
  LocalTrainer trainer(model, DFA{});
  BackpropTrainer back(model);
  model->to(torch::kFloat64);

  CHECK(says(error_of([&] { trainer.step(twice.x, twice.y); }),
             {"embed.weight is (5, 6) float64 on cpu", "float32 on cpu", "new trainer"}));
  CHECK(says(error_of([&] { trainer.step(batch.x, batch.y); }), {"new trainer"}));
  CHECK(says(error_of([&] { trainer.credits(batch.x, batch.y); }), {"new trainer"}));
  CHECK(says(error_of([&] { back.step(twice.x, twice.y); }), {"embed.weight is (5, 6) float64 on cpu"}));

  model->to(torch::kFloat32);
  CHECK(error_of([&] { trainer.step(batch.x, batch.y); }) == "(nothing was thrown)");
}

TEST_CASE("a block that changes its input in place is found, and the cure said", "[errors]") {
  auto in_place = torch::nn::ReLU(torch::nn::ReLUOptions().inplace(true));
  auto model = SequentialBlocks({.embed = torch::nn::Sequential(torch::nn::Linear(6, 5)),
                                 .blocks = {torch::nn::Sequential(torch::nn::Linear(5, 5)),
                                            torch::nn::Sequential(in_place, torch::nn::Linear(5, 5))},
                                 .readout = torch::nn::Sequential(torch::nn::Linear(5, 4)),
                                 .example = torch::zeros({1, 6})});
  const auto batch = small_batch();
  LocalTrainer dfa(model, DFA{});
  LocalTrainer oracle(model, Oracle{});

  CHECK(says(error_of([&] { dfa.step(batch.x, batch.y); }), {"Block 1 changes its input in place", "h_1"}));
  CHECK(says(error_of([&] { oracle.step(batch.x, batch.y); }), {"Block 1 changes its input in place", "h_1"}));
}

TEST_CASE("options that cannot be meant are refused when the trainer is made", "[errors]") {
  auto model = small_model();

  CHECK(says(error_of([&] { LocalTrainer(model, DFA{}, {.lr = -1}); }), {"lr is -1"}));
  CHECK(says(error_of([&] { BackpropTrainer(model, {.clip_norm = -2.0}); }), {"clip_norm is -2"}));
}

TEST_CASE("a checkpoint of another model or rule is refused by the first name that differs, and nothing is loaded",
          "[errors][checkpoint]") {
  const TemporaryFolder folder;
  const auto batch = small_batch();
  auto model = small_model(), wider = ResidualMLP({.input = 6, .width = 8, .classes = 4, .blocks = 3});
  auto deeper = ResidualMLP({.input = 6, .width = 5, .classes = 4, .blocks = 4}),
       shallow = ResidualMLP({.input = 6, .width = 5, .classes = 4, .blocks = 2});
  LocalTrainer trainer(model, DFA{});
  LocalTrainer other(wider, DFA{});
  LocalTrainer four(deeper, DFA{});
  LocalTrainer two(shallow, DFA{});
  LocalTrainer target(model, TargetProjection{});
  LocalTrainer sgd(model, DFA{}, {.optimizer = Optimizer::SGD});
  BackpropTrainer back(model);
  trainer.save(folder / "saved");
  const auto message = [&](auto& into) {
    const auto before = everything(*into.model());
    const auto said = error_of([&] { into.load(folder / "saved"); });
    CHECK(same(before, everything(*into.model())));
    return said;
  };

  CHECK(says(message(other), {"saved", "model.embed.weight as (5, 6)", "(8, 6)"}));
  CHECK(says(message(four), {"has no model.blocks.3.ln.weight"}));
  CHECK(says(message(two), {"credit.feedback.3", "which the trainer does not have"}));
  CHECK(says(message(sgd), {"optimizer."}));
  CHECK(says(message(back), {"credit.feedback", "another model, credit source"}));
  LocalTrainer noisy(model, LearnedProjection{});
  CHECK(says(message(noisy), {"credit."}));
  CHECK(message(trainer) == "(nothing was thrown)");
}

TEST_CASE("a file that is no checkpoint, or half of one, is refused", "[errors][checkpoint]") {
  const TemporaryFolder folder;
  auto model = small_model();
  LocalTrainer trainer(model, DFA{});
  trainer.step(small_batch().x, small_batch().y);
  trainer.save(folder / "saved");
  std::string bytes;
  {
    std::ifstream file(folder / "saved", std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }
  const auto message = [&](const std::string& content) {
    std::ofstream(folder / "other", std::ios::binary) << content;
    const auto before = everything(*model);
    const auto said = error_of([&] { trainer.load(folder / "other"); });
    CHECK(same(before, everything(*model)));
    return said;
  };

  REQUIRE(bytes.size() > 1000);
  CHECK(says(message(bytes.substr(0, bytes.size() / 2)),
             {"other", "damaged", std::to_string(bytes.size() / 2) + " bytes"}));
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{21}, std::size_t{500}, bytes.size() - 23, bytes.size() - 1}) {
    CHECK(says(message(bytes.substr(0, size)), {"other", "damaged"}));
  }
  CHECK(says(message(""), {"other", "damaged"}));
  CHECK(says(message("text that is no checkpoint at all"), {"other", "damaged"}));
  CHECK(message(bytes) == "(nothing was thrown)");
  CHECK(says(error_of([&] { trainer.load(folder / "missing"); }), {"missing", "cannot be read"}));
  CHECK(says(error_of([&] { trainer.save(folder / "no such folder" / "saved"); }), {"no such folder"}));
}

TEST_CASE("a checkpoint of a float32 run loads into a float64 one, options are not loaded", "[checkpoint]") {
  const TemporaryFolder folder;
  auto model = small_model(), twice = residual_mlp(torch::kFloat64, 5);
  LocalTrainer trainer(model, DFA{}, {.lr = 0.1, .epochs = 10});
  LocalTrainer other(twice, DFA{}, {.lr = 0.2, .epochs = 20, .seed = 9});
  trainer.step(small_batch().x, small_batch().y);
  trainer.end_epoch();
  trainer.save(folder / "saved");

  other.load(folder / "saved");

  CHECK(distance(model->parameters(), twice->parameters()) == 0);
  CHECK(other.epoch() == 1);
  CHECK(other.steps() == 1);
  CHECK(other.options().lr == 0.2);
  CHECK(other.rate() == Approx(0.2 * (1 + std::cos(std::numbers::pi / 20)) / 2));
  CHECK(distance(other.state().feedback, trainer.state().feedback) == 0);
}

TEST_CASE("loading copies in place: parameters and state keep their storage", "[checkpoint]") {
  const TemporaryFolder folder;
  auto model = small_model();
  LocalTrainer trainer(model, DFA{});
  const auto* weights = model->parameters()[0].data_ptr();
  const auto feedback = trainer.state().feedback[1];
  trainer.save(folder / "saved");
  feedback.zero_();

  trainer.load(folder / "saved");

  CHECK(model->parameters()[0].data_ptr() == weights);
  CHECK(feedback.abs().max().item<double>() > 0);
}
