// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/model/stage.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
namespace nn = torch::nn;

namespace {

/// A block of a user's own: a residual branch with a gate, which no Sequential can say.
struct GatedImpl : nn::Cloneable<GatedImpl> {
  explicit GatedImpl(std::int64_t width) : width(width) { GatedImpl::reset(); }
  void reset() override {
    value = register_module("value", nn::Linear(width, width));
    gate = register_module("gate", nn::Linear(width, width));
    gain = register_parameter("gain", torch::ones({width}));
  }
  torch::Tensor forward(const torch::Tensor& h) { return gain * value(h) * gate(h).sigmoid(); }
  std::int64_t width;
  nn::Linear value = nullptr, gate = nullptr;
  torch::Tensor gain;
};
TORCH_MODULE(Gated);

/// LibTorch's own advice for a Sequential in a Sequential: a subclass whose forward is no template.
struct DoubledImpl : nn::SequentialImpl {
  using nn::SequentialImpl::SequentialImpl;
  torch::Tensor forward(torch::Tensor h) { return 2 * nn::SequentialImpl::forward(std::move(h)); }
};

/// Takes two tensors, or gives two.
struct TwoInImpl : nn::Module {
  torch::Tensor forward(const torch::Tensor& a, const torch::Tensor& b) { return a + b; }
};
struct TwoOutImpl : nn::Module {
  std::tuple<torch::Tensor, torch::Tensor> forward(const torch::Tensor& h) { return {h, h}; }
};

SequentialBlocksOptions of_one_module_each() {
  return {.embed = nn::Linear(6, 5),
          .blocks = {Gated(5), std::make_shared<GatedImpl>(5), nn::AnyModule(Gated(5)),
                     nn::Sequential(nn::Linear(5, 5), nn::Tanh())},
          .readout = nn::Linear(5, small_classes),
          .residual = true,
          .example = torch::zeros({1, 6})};
}

std::vector<std::string> stage_parameter_names(const nn::Module& module) { return module.named_parameters().keys(); }

}  // namespace

TEST_CASE("a stage may be one module, held in any of LibTorch's ways", "[model][stage]") {
  torch::manual_seed(1);
  auto options = of_one_module_each();
  SequentialBlocks model(options);
  const auto x = torch::randn({3, 6});

  auto h = options.embed->forward(x);
  for (auto& block : options.blocks) h = h + block->forward(h);
  CHECK(torch::equal(model->forward(x), options.readout->forward(h)));
  CHECK(model->blocks() == 4);
  CHECK(model->block_parameters(0).size() == 5);
  CHECK(model->embed_parameters().size() == 2);
}

TEST_CASE("a stage of one module has the module's own names, a Sequential has numbers", "[model][stage]") {
  auto options = of_one_module_each();
  options.blocks = {Gated(5), nn::Sequential(Gated(5))};

  CHECK(stage_parameter_names(*SequentialBlocks(options)) ==
        std::vector<std::string>{"embed.weight", "embed.bias", "blocks.0.gain", "blocks.0.value.weight",
                                 "blocks.0.value.bias", "blocks.0.gate.weight", "blocks.0.gate.bias", "blocks.1.0.gain",
                                 "blocks.1.0.value.weight", "blocks.1.0.value.bias", "blocks.1.0.gate.weight",
                                 "blocks.1.0.gate.bias", "readout.weight", "readout.bias"});

  // A layer that was added afterwards is trained too, so the stage is a Sequential then.
  Stage grown = nn::Linear(5, 5);
  CHECK(grown.is_one_module());
  grown->push_back(nn::Linear(5, 5));
  options.blocks = {grown};
  SequentialBlocks model(options);
  CHECK(model->block_parameters(0).size() == 4);
  CHECK(model->named_parameters().contains("blocks.0.1.weight"));
}

TEST_CASE("with modules as stages the oracle has the gradients of back-propagation", "[model][stage]") {
  torch::manual_seed(2);
  SequentialBlocks model(of_one_module_each());
  model->to(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  BackpropTrainer backprop(model, {});
  LocalTrainer oracle(model, Oracle{}, {}, Raw{});

  CHECK(oracle.path() == Path::Generic);
  CHECK(distance(oracle.gradients(batch.x, batch.y), backprop.gradients(batch.x, batch.y)) < 1e-12);
  const auto before = copies(model->parameters());
  LocalTrainer(model, DFA{}).step(batch.x, batch.y);
  for (std::size_t i = 0; i < before.size(); ++i) CHECK_FALSE(torch::equal(before[i], model->parameters()[i]));
}

TEST_CASE("a vector of Sequentials, of modules or of stages is a network's blocks", "[model][stage]") {
  auto options = of_one_module_each();
  const auto blocks = [&](const auto& given) {
    options.blocks = given;
    return SequentialBlocks(options)->blocks();
  };
  CHECK(blocks(std::vector<nn::Sequential>{nn::Sequential(nn::Linear(5, 5)), nn::Sequential(nn::Linear(5, 5))}) == 2);
  CHECK(blocks(std::vector<Gated>{Gated(5), Gated(5), Gated(5)}) == 3);
  CHECK(blocks(std::vector<std::shared_ptr<GatedImpl>>{std::make_shared<GatedImpl>(5)}) == 1);
  CHECK(blocks(std::vector<Stage>{Gated(5), nn::Sequential(nn::Linear(5, 5))}) == 2);

  Stages grown;
  for (int l = 0; l < 3; ++l) grown.push_back(Gated(5));
  CHECK(blocks(grown) == 3);
}

TEST_CASE("every way to write a Sequential is a stage", "[model][stage]") {
  auto options = of_one_module_each();
  options.embed = {{"first", nn::Linear(6, 6)}, {"second", nn::Linear(6, 5)}};
  options.readout = std::make_shared<nn::SequentialImpl>(nn::Linear(5, small_classes));
  options.blocks = {nn::Sequential({{"own", Gated(5)}})};
  SequentialBlocks model(options);
  for (const auto* name : {"embed.first.weight", "embed.second.bias", "blocks.0.own.gain", "readout.0.weight"})
    CHECK(model->named_parameters().contains(name));

  options.embed = nullptr;
  options.example = torch::zeros({1, 5});
  CHECK(SequentialBlocks(options)->embed_parameters().empty());

  // A subclass runs by its own forward, not by the base's.
  const auto doubled = std::make_shared<DoubledImpl>(nn::Linear(5, 5));
  options.blocks = {doubled};
  const auto h = torch::randn({2, 5});
  CHECK(torch::equal(SequentialBlocks(options)->block(0, h), doubled->forward(h)));
}

TEST_CASE("blocks take a stage of several layers in place, as a vector of Sequentials does", "[model][stage]") {
  SequentialBlocksOptions options{.example = torch::zeros({1, 5})};
  options.blocks.emplace_back(torch::nn::Linear(5, 6), torch::nn::Tanh());
  options.readout = torch::nn::Sequential(torch::nn::Linear(6, 3));
  SequentialBlocks model(options);

  CHECK(options.blocks[0]->size() == 2);
  CHECK(model->forward(torch::zeros({2, 5})).sizes() == torch::IntArrayRef({2, 3}));
}

TEST_CASE("single layers have a closed form as a Sequential of them has", "[model][stage]") {
  torch::manual_seed(3);
  SequentialBlocks model({.embed = nn::Linear(6, 5),
                          .blocks = {nn::Sequential(nn::Linear(5, 5), nn::GELU()), nn::Linear(5, 5)},
                          .readout = nn::Linear(5, small_classes),
                          .residual = true,
                          .example = torch::zeros({1, 6})});
  model->to(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  LocalTrainer by_formula(model, DFA{}), by_autograd(model, DFA{}, {.path = Path::Generic});

  CHECK(by_formula.path() == Path::ClosedForm);
  CHECK(distance(by_formula.gradients(batch.x, batch.y), by_autograd.gradients(batch.x, batch.y)) < 1e-12);
}

TEST_CASE("the layout is found from single layers, and asked for behind a module of one's own", "[model][stage]") {
  const auto options = [](Stage block) {
    return SequentialBlocksOptions{.embed = nn::Conv1d(nn::Conv1dOptions(2, 3, 3).padding(1)),
                                   .blocks = {std::move(block)},
                                   .readout = nn::Sequential(nn::Flatten(), nn::Linear(3 * 6, small_classes)),
                                   .example = torch::zeros({1, 2, 6})};
  };
  CHECK(SequentialBlocks(options(nn::Conv1d(nn::Conv1dOptions(3, 3, 3).padding(1))))->hidden_layout(1) ==
        HiddenLayout::FeaturesFirst);
  CHECK(SequentialBlocks(options(nn::Linear(6, 6)))->hidden_layout(1) == HiddenLayout::FeaturesLast);
  CHECK(says(error_of([&] { SequentialBlocks{options(Gated(6))}; }), {"h_1 is (1, 3, 6)", ".layout"}));
}

TEST_CASE("a clone's stages are modules as the model's are", "[model][stage]") {
  torch::manual_seed(4);
  SequentialBlocks model(of_one_module_each());
  const auto copy = model->clone();

  CHECK(stage_parameter_names(*copy) == stage_parameter_names(*model));
  CHECK(same(copy->parameters(), model->parameters()));
  CHECK(copy->parameters()[0].data_ptr() != model->parameters()[0].data_ptr());
  const auto x = torch::randn({2, 6});
  CHECK(torch::equal(copy->forward(x), model->forward(x)));
}

TEST_CASE("a stage that is no module, or that takes or gives other things than a tensor, is refused",
          "[model][stage]") {
  const auto message = [](const nn::AnyModule& block) {
    return error_of([&] {
      auto options = of_one_module_each();
      options.blocks = {block};
      SequentialBlocks{options};
    });
  };
  CHECK(says(error_of([] { Stage{Gated(nullptr)}; }), {"A stage of SequentialBlocks is a module that is null"}));
  CHECK(says(error_of([] { Stage{std::shared_ptr<GatedImpl>()}; }), {"is a module that is null"}));
  CHECK(says(message({}), {"is a module that is null"}));
  CHECK(says(message(nn::AnyModule(std::make_shared<TwoInImpl>())),
             {"SequentialBlocks: block 0 cannot take the input (1, 5)", "expects 2 argument"}));
  CHECK(says(
      message(nn::AnyModule(std::make_shared<TwoOutImpl>())),
      {"SequentialBlocks: block 0 cannot take the input (1, 5)", "at::Tensor, but its actual type is std::tuple"}));
}

TEST_CASE("BlockModule registers an AnyModule as it does a holder", "[model][stage]") {
  struct AnyNetImpl : BlockModule<AnyNetImpl> {
    AnyNetImpl() {
      register_embed("stem", nn::AnyModule(stem));
      register_block(nn::AnyModule(Gated(5)));
      register_readout("head", nn::AnyModule(head));
      find_shapes(torch::zeros({1, 6}));
    }
    torch::Tensor embed(const torch::Tensor& x) { return stem(x); }
    torch::Tensor readout(const torch::Tensor& h) { return head(h); }
    nn::Linear stem{6, 5}, head{5, small_classes};
  };
  ModelHolder<AnyNetImpl> model;
  const auto batch = small_batch();

  CHECK(model->named_parameters().contains("blocks.0.gate.weight"));
  CHECK(model->named_parameters().contains("stem.weight"));
  CHECK(std::isfinite(LocalTrainer(model, DFA{}).step(batch.x, batch.y).loss.item<double>()));
}
