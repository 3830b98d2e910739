// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/equilibrium_propagation.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/schedule/blend.hpp>
#include <memory>

#include "../models.hpp"
#include "../sources.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

struct HalvedLinearImpl : torch::nn::LinearImpl {
  using LinearImpl::LinearImpl;
  torch::Tensor forward(const torch::Tensor& x) { return torch::nn::functional::linear(x, weight / 2, bias); }
};
TORCH_MODULE(HalvedLinear);

/// Models whose blocks give half, but for which nothing says so to what they inherit.
struct HalvedMLPImpl : ResidualMLPImpl {
  using ResidualMLPImpl::ResidualMLPImpl;
  torch::Tensor block(std::int64_t l, const torch::Tensor& h) { return ResidualMLPImpl::block(l, h) / 2; }
  torch::Tensor forward(const torch::Tensor& x) { return readout(join(0, embed(x), block(0, embed(x)))); }
};
struct HalvedBlocksImpl : SequentialBlocksImpl {
  using SequentialBlocksImpl::SequentialBlocksImpl;
  torch::Tensor block(std::int64_t l, const torch::Tensor& h) { return SequentialBlocksImpl::block(l, h) / 2; }
  torch::Tensor forward(const torch::Tensor& x) { return readout(join(0, embed(x), block(0, embed(x)))); }
};

/// Two linear blocks with a closed form that a test may spoil.
struct LayeredImpl : torch::nn::Module {
  std::int64_t blocks() const { return 2; }
  std::int64_t classes() const { return classes_; }
  std::vector<std::int64_t> hidden_shape(std::int64_t) const { return {5}; }
  torch::Tensor embed(const torch::Tensor& x) { return embed_(x); }
  torch::Tensor block(std::int64_t l, const torch::Tensor& h) { return l == 0 ? first_(h) : second_(h); }
  torch::Tensor join(std::int64_t, const torch::Tensor&, const torch::Tensor& f) { return f; }
  torch::Tensor readout(const torch::Tensor& h) { return head_(h); }
  torch::Tensor forward(const torch::Tensor& x) { return readout(block(1, block(0, embed(x)))); }
  std::vector<torch::Tensor> embed_parameters() { return embed_->parameters(); }
  std::vector<torch::Tensor> block_parameters(std::int64_t l) { return (l == 0 ? first_ : second_)->parameters(); }
  std::vector<torch::Tensor> readout_parameters() { return head_->parameters(); }
  std::optional<closed_form::Network> closed_form() { return network; }

  torch::nn::Linear embed_ = register_module("embed", torch::nn::Linear(6, 5));
  torch::nn::Linear first_ = register_module("first", torch::nn::Linear(5, 5));
  torch::nn::Linear second_ = register_module("second", torch::nn::Linear(5, 5));
  torch::nn::Linear head_ = register_module("head", torch::nn::Linear(5, small_classes));
  std::int64_t classes_ = small_classes;
  closed_form::Network network{.embed = {closed_form::layer_of(*embed_)},
                               .blocks = {{closed_form::layer_of(*first_)}, {closed_form::layer_of(*second_)}},
                               .readout = {closed_form::layer_of(*head_)}};
};
TORCH_MODULE(Layered);

/// The inner product, which says its multiple of credit for hidden states of width 5 alone.
struct SometimesMultiple : InnerProduct {
  std::optional<double> multiple_of_credit(const torch::Tensor& f) const {
    if (f.size(1) != 5) return std::nullopt;
    return InnerProduct::multiple_of_credit(f);
  }
};

}  // namespace

TEST_CASE("what learns sees the states that credit was for, though the step runs at others", "[closed_form]") {
  const auto learned = [](Path path) {
    LocalTrainer trainer(residual_mlp(torch::kFloat64), Mix{EquilibriumPropagation{}, Vec{}}, {.path = path},
                         Blend{.alpha = 0.5});
    const auto batch = small_batch(torch::kFloat64);
    for (int i = 0; i < 2; ++i) trainer.step(batch.x, batch.y);
    std::vector<torch::Tensor> numbers;
    for (const auto& [name, tensor] : trainer.state().second.named_tensors())
      numbers.push_back(tensor.flatten().to(torch::kFloat64));
    return torch::cat(numbers);
  };
  const auto formula = learned(Path::ClosedForm), autograd = learned(Path::Generic);
  CHECK((formula - autograd).abs().max().item<double>() < 1e-9);
}

TEST_CASE("a subclass of a layer, whose forward may be another, is left to autograd", "[closed_form]") {
  using namespace torch::nn;
  torch::manual_seed(1);
  SequentialBlocks model({.embed = Sequential(Linear(6, 5)),
                          .blocks = {Sequential(HalvedLinear(5, 5), Tanh())},
                          .readout = Sequential(Linear(5, small_classes)),
                          .example = torch::zeros({1, 6})});
  BackpropTrainer trainer(model);
  CHECK(trainer.path() == Path::Generic);
  const auto batch = small_batch();
  const auto expected = at::cross_entropy_loss(model->forward(batch.x), batch.y).item<float>();
  CHECK(trainer.step(batch.x, batch.y).loss.item<float>() == Approx(expected));
}

TEST_CASE("a subclass of a model, whose blocks may be others, does not inherit its closed form", "[closed_form]") {
  using namespace torch::nn;
  const auto check = [](auto model) {
    BackpropTrainer trainer(model);
    CHECK(trainer.path() == Path::Generic);
    const auto batch = small_batch();
    const auto expected = at::cross_entropy_loss(model->forward(batch.x), batch.y).template item<float>();
    CHECK(trainer.step(batch.x, batch.y).loss.template item<float>() == Approx(expected));
  };
  torch::manual_seed(1);
  check(std::make_shared<HalvedMLPImpl>(
      ResidualMLPOptions{.input = 6, .width = 5, .classes = small_classes, .blocks = 1}));
  check(std::make_shared<HalvedBlocksImpl>(SequentialBlocksOptions{.embed = Sequential(torch::nn::Linear(6, 5)),
                                                                   .blocks = {Sequential(torch::nn::Linear(5, 5))},
                                                                   .readout = Sequential(Linear(5, small_classes)),
                                                                   .example = torch::zeros({1, 6})}));
}

TEST_CASE("the states of a trace have no graph, though the batch has one", "[closed_form]") {
  using namespace torch::nn;
  SequentialBlocks model({.blocks = {Sequential(torch::nn::Linear(6, 5))},
                          .readout = Sequential(torch::nn::Linear(5, small_classes)),
                          .example = torch::zeros({1, 6})});
  const auto batch = small_batch();
  const auto x = batch.x.clone().requires_grad_();
  for (const auto path : {Path::ClosedForm, Path::Generic}) {
    LocalTrainer trainer(model, Captured<DFA>{}, {.path = path});
    trainer.credits(x, batch.y);
    const auto traces = trainer.state().traces;
    REQUIRE(traces->size() == 1);
    for (const auto& h : traces->front().hidden) CHECK(!h.requires_grad());
  }
}

TEST_CASE("a closed form whose layers do not fit together is refused", "[closed_form]") {
  const auto refused = [](const auto& spoil) {
    Layered model;
    spoil(*model);
    return error_of([&] { BackpropTrainer trainer(model); });
  };
  CHECK_NOTHROW(BackpropTrainer(Layered()));
  CHECK(
      says(refused([](auto& m) { m.network.blocks[1] = m.network.blocks[0]; }), {"block 1", "another layer has too"}));
  CHECK(says(refused([](auto& m) { m.network.blocks.pop_back(); }), {"there are 1 blocks", "blocks() is 2"}));
  CHECK(says(refused([](auto& m) { m.network.blocks.emplace_back(); }), {"there are 3 blocks", "blocks() is 2"}));
  CHECK(says(refused([](auto& m) { m.classes_ = 3; }), {"the readout gives 4", "classes() is 3"}));
  CHECK(says(refused([](auto& m) { m.network.readout = {closed_form::Linear{torch::zeros({4, 7})}}; }),
             {"takes 7", "gets 5"}));
  CHECK(says(refused([](auto& m) { m.network.blocks[0].push_back(closed_form::LayerNorm{torch::ones(5)}); }),
             {"block 0", "alone"}));
  CHECK(says(
      refused([](auto& m) { m.network.readout = {closed_form::Linear{torch::zeros({4, 5}, torch::requires_grad())}}; }),
      {"the readout", "none of the model's parameters"}));
  CHECK(says(refused([](auto& m) {
               m.network.blocks[1] = {closed_form::Linear{torch::zeros({3, 5})}};
               m.network.readout = {closed_form::Linear{torch::zeros({4, 3})}};
               m.network.residual = true;
             }),
             {"block 1", "takes 5", "gives 3"}));
}

TEST_CASE("where a local loss is no multiple of credit for one block, credit is multiplied out", "[closed_form]") {
  const auto gradients = [](Path path) {
    LocalTrainer trainer(stages(Kind::plain, torch::kFloat64), DFA{}, {.path = path}, {}, {}, SometimesMultiple{});
    const auto batch = batch_for(Kind::plain, torch::kFloat64);
    return trainer.gradients(batch.x, batch.y);
  };
  const auto formula = gradients(Path::ClosedForm), autograd = gradients(Path::Generic);
  for (std::size_t i = 0; i < formula.size(); ++i) CHECK((formula[i] - autograd[i]).abs().max().item<double>() < 1e-12);
}
