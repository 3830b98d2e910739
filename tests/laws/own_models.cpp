// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/testing/laws.hpp>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "../models.hpp"
#include "../rules.hpp"
#include "../test.hpp"
#include "subjects.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// One block and no embed, in a shared_ptr; without a closed form.
class TinyImpl : public torch::nn::Module {
 public:
  torch::Tensor embed(const torch::Tensor& x) { return x; }
  std::int64_t blocks() const { return 1; }
  torch::Tensor block(std::int64_t, const torch::Tensor& h) { return hidden_(h).relu(); }
  torch::Tensor join(std::int64_t, const torch::Tensor&, const torch::Tensor& f) { return f; }
  torch::Tensor readout(const torch::Tensor& h) { return head_(h); }
  torch::Tensor forward(const torch::Tensor& x) { return readout(block(0, x)); }
  std::int64_t classes() const { return 3; }
  std::vector<std::int64_t> hidden_shape(std::int64_t) const { return {8}; }
  std::vector<torch::Tensor> embed_parameters() const { return {}; }
  std::vector<torch::Tensor> block_parameters(std::int64_t) const { return hidden_->parameters(); }
  std::vector<torch::Tensor> readout_parameters() const { return head_->parameters(); }

 private:
  torch::nn::Linear hidden_ = register_module("hidden", torch::nn::Linear(8, 8));
  torch::nn::Linear head_ = register_module("head", torch::nn::Linear(8, 3));
};
using Tiny = std::shared_ptr<TinyImpl>;

testing::ModelCase<Tiny> tiny() {
  return {.name = "tiny",
          .make = [] { return std::make_shared<TinyImpl>(); },
          .batch = [](std::int64_t size) { return Batch{torch::randn({size, 8}), torch::randint(3, {size})}; }};
}

/// Sends the gradient at h_L to every block.
struct LastGradient {
  std::vector<torch::Tensor> credit(auto&, const Trace& trace) const {
    return std::vector<torch::Tensor>(trace.hidden.size(), trace.loss_gradient());
  }
};

/// Is not finished.
struct NotWritten : std::logic_error {
  using std::logic_error::logic_error;
};
struct Unfinished {
  std::vector<torch::Tensor> credit(auto&, const Trace&) const { throw NotWritten("not written yet"); }
};

/// Does not like residual networks' widths.
struct Picky {
  template <class Model>
  TargetProjection::State bind(Model& model, const BindContext& context) const {
    if (model->blocks() == 3) throw Error("Picky: three blocks are too many, expected two.");
    return TargetProjection{}.bind(model, context);
  }
};

}  // namespace

TEST_CASE("rules are held to the laws on a user's model", "[law]") {
  for (const auto& report :
       {testing::check_laws(DFA{}, {tiny()}), testing::check_laws(FA{}, {tiny()}),
        testing::check_laws(LearnedProjection{}, {tiny()}), testing::check_laws(LastGradient{}, {tiny()})}) {
    INFO(report.text());
    CHECK(report.ok());
    CHECK(report.results.size() == 1 + laws::every_law().size());
    for (const auto& result : report.results) CHECK(result.model == "tiny");
    CHECK(verdict_in(report, "formula and autograd agree in float64", "tiny") ==
          not_applicable("the model has no closed form"));
    CHECK(verdict_in(report, "credit is not the true gradient", "tiny") ==
          not_applicable("the model has no hidden state below h_L"));
  }
}

TEST_CASE("rules are held to the laws on a model that shares a layer between its parts", "[law]") {
  using torch::nn::Linear, torch::nn::Sequential, torch::nn::Tanh;
  const testing::ModelCase<SequentialBlocks> shared{
      .name = "shared",
      .make =
          [] {
            const Linear layer(6, 6);
            return SequentialBlocks({.embed = Sequential(layer),
                                     .blocks = {Sequential(layer, Tanh()), Sequential(layer, Tanh(), layer)},
                                     .readout = Sequential(Linear(6, 3)),
                                     .example = torch::zeros({1, 6})});
          },
      .batch = [](std::int64_t size) { return Batch{torch::randn({size, 6}), torch::randint(3, {size})}; }};
  for (const auto& report : {testing::check_laws(DFA{}, {shared}), testing::check_laws(Oracle{}, {shared})}) {
    INFO(report.text());
    CHECK(report.ok());
  }
}

TEST_CASE("a rule is held to the laws under another objective", "[law]") {
  auto model = tiny();
  model.batch = [](std::int64_t size) { return Batch{torch::randn({size, 8}), torch::randn({size, 3})}; };

  const auto report = testing::check_laws(DFA{}, {model}, {}, SquaredError{});

  INFO(report.text());
  CHECK(report.ok());
}

TEST_CASE("models in a vector are as good as models in braces", "[law]") {
  const auto report = testing::check_laws(DFA{}, testing::small_sequential_blocks());

  CHECK(report.ok());
  CHECK(report.results.size() == 7 * (1 + laws::every_law().size()));
}

TEST_CASE("a report on no models is not ok", "[law]") {
  const auto report = testing::check_laws(DFA{}, std::vector<testing::ModelCase<Tiny>>{});

  CHECK_FALSE(report.ok());
  CHECK(report.text() == "no law was asked\n");
}

TEST_CASE("a rule that draws nothing, and has tensors, says so", "[law]") {
  torch::manual_seed(3);
  const DFA given{.feedback = {torch::randn({8, 3}), torch::randn({8, 3})}};
  const auto law = "another seed, another credit";

  const auto strict = testing::check_laws(given, {tiny()}),
             told = testing::check_laws(given, {tiny()}, {.draws = false});

  CHECK(says(verdict_in(strict, law, "tiny").what, {"LawOptions::draws"}));
  CHECK(strict.count(Verdict::Failed) == 1);
  CHECK(told.ok());
  CHECK(verdict_in(told, law, "tiny") == not_applicable("the rule draws nothing"));
}

TEST_CASE("a rule that throws something else than Error has failed", "[law]") {
  const auto report = testing::check_laws(Unfinished{}, {tiny()});

  CHECK_FALSE(report.ok());
  CHECK(verdict_in(report, laws::trains_the_model, "tiny") == failed("an exception: not written yet"));
}

TEST_CASE("a rule may refuse some models, not all", "[law]") {
  const auto some = testing::check_laws(Picky{});
  const auto none = testing::check_laws(Picky{}, {testing::small_residual_mlp()});
  const auto refusal = "the rule refuses the model: Picky: three blocks are too many, expected two.";

  CHECK(some.ok());
  CHECK(verdict_in(some, laws::trains_the_model, "residual_mlp") == not_applicable(refusal));
  CHECK(verdict_in(some, "credit is per sample", "residual_mlp") == not_applicable("the rule refuses the model"));
  CHECK(verdict_in(some, laws::trains_the_model, "tokens") == held());
  CHECK_FALSE(none.ok());
  CHECK(verdict_in(none, laws::trains_the_model, "residual_mlp") == failed(refusal));
}

TEST_CASE("the laws leave torch's global generator as it was", "[law]") {
  torch::manual_seed(9);
  const auto before = global_generator_state();

  testing::check_laws(DFA{}, {tiny()});
  testing::check_laws(RowRms{});

  CHECK(torch::equal(before, global_generator_state()));
}

TEST_CASE("two models of one seed are the same, and of another are not", "[law]") {
  const auto one = stages(Kind::plain)->parameters(), again = stages(Kind::plain)->parameters();
  const auto other = stages(Kind::plain, torch::kFloat32, 2)->parameters();

  CHECK(same(one, again));
  CHECK_FALSE(same(one, other));
}

TEST_CASE("a model case casts what it makes to the dtype, and leaves labels", "[law]") {
  const auto model_case = tiny();
  const auto single = model_case.batch_of(), twice = model_case.batch_of(torch::kFloat64);

  CHECK(model_case.model(torch::kFloat64)->parameters()[0].scalar_type() == torch::kFloat64);
  CHECK(twice.x.scalar_type() == torch::kFloat64);
  CHECK(torch::equal(single.x, twice.x.to(torch::kFloat32)));
  CHECK(torch::equal(single.y, twice.y));
}
