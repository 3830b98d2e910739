// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/block_module.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <memory>
#include <string>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
namespace nn = torch::nn;

namespace {

struct MineOptions {
  std::int64_t width = 5;
  std::int64_t blocks = 2;
};

/// A residual model of a user's own, of which nothing is written that the base can do.
class MineImpl : public BlockModule<MineImpl, MineOptions> {
 public:
  explicit MineImpl(const MineOptions& options) : BlockModule(options) {
    stem_ = register_embed("stem", nn::Linear(6, options.width));
    for (std::int64_t l = 0; l < options.blocks; ++l) {
      register_block(nn::Sequential(nn::Linear(options.width, options.width), nn::Tanh()));
    }
    norm_ = register_readout("norm", nn::LayerNorm(nn::LayerNormOptions({options.width})));
    head_ = register_readout("head", nn::Linear(options.width, small_classes));
    find_shapes(torch::zeros({1, 6}));
  }
  torch::Tensor embed(const torch::Tensor& x) { return stem_(x); }
  torch::Tensor join(std::int64_t, const torch::Tensor& h, const torch::Tensor& f) { return h + f; }
  torch::Tensor readout(const torch::Tensor& h) { return head_(norm_(h)); }

 private:
  nn::Linear stem_ = nullptr;
  nn::LayerNorm norm_ = nullptr;
  nn::Linear head_ = nullptr;
};
using Mine = ModelHolder<MineImpl>;

static_assert(BlockModel<Mine> && BlockModel<std::shared_ptr<MineImpl>>);

/// Blocks of several layers and a parameter, under names of their own; no options, no embed.
class NamedImpl : public BlockModule<NamedImpl> {
 public:
  NamedImpl() {
    conv_ = register_block(0, "conv", nn::Conv2d(nn::Conv2dOptions(2, 3, 3).padding(1)));
    norm_ = register_block(0, "norm", nn::BatchNorm2d(3));
    full_ = register_block(1, "full", nn::Linear(3 * 6 * 6, 5));
    gain_ = register_block(1, "gain", torch::full({5}, 2.0));
    head_ = register_readout("head", nn::Linear(5, small_classes));
    find_shapes(torch::zeros({1, 2, 6, 6}));
  }
  torch::Tensor block(std::int64_t l, const torch::Tensor& h) {
    return l == 0 ? norm_(conv_(h)).relu() : (full_(h.flatten(1)) * gain_).tanh();
  }
  torch::Tensor readout(const torch::Tensor& h) { return head_(h); }

 private:
  nn::Conv2d conv_ = nullptr;
  nn::BatchNorm2d norm_ = nullptr;
  nn::Linear full_ = nullptr, head_ = nullptr;
  torch::Tensor gain_;
};
using Named = ModelHolder<NamedImpl>;

static_assert(BlockModel<Named>);

std::vector<std::string> parameter_names(const torch::nn::Module& module) {
  std::vector<std::string> names;
  for (const auto& entry : module.named_parameters()) names.push_back(entry.key());
  return names;
}

/// The base, opened: a constructor is a function that a test gives.
class OpenImpl : public BlockModule<OpenImpl> {
 public:
  template <class Construct>
  explicit OpenImpl(const Construct& construct) {
    construct(*this);
  }
  using BlockModule::find_shapes;
  using BlockModule::register_block;
  using BlockModule::register_embed;
  using BlockModule::register_readout;
  using BlockModule::set_shapes;

  torch::Tensor readout(const torch::Tensor& h) { return h; }
};

template <class Construct>
std::string fault_of(const Construct& construct) {
  return error_of([&] { OpenImpl open(construct); });
}

using Shape = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("a model of a user's own has what every model has, from its registrations", "[model]") {
  torch::manual_seed(1);
  Mine model({.width = 8});

  CHECK(model->options().width == 8);
  CHECK(model->blocks() == 2);
  CHECK(model->classes() == small_classes);
  CHECK(model->hidden_shape(0) == Shape{8});
  CHECK(model->hidden_shape(2) == Shape{8});
  CHECK(parameter_names(*model) == std::vector<std::string>{"stem.weight", "stem.bias", "blocks.0.0.weight",
                                                            "blocks.0.0.bias", "blocks.1.0.weight", "blocks.1.0.bias",
                                                            "norm.weight", "norm.bias", "head.weight", "head.bias"});
  CHECK(model->embed_parameters().size() == 2);
  CHECK(model->block_parameters(1).size() == 2);
  CHECK(model->block_parameters(1)[0].is_same(model->named_parameters()["blocks.1.0.weight"]));
  CHECK(model->readout_parameters().size() == 4);

  const auto x = small_batch().x;
  auto h = model->embed(x);
  h = h + model->block(0, h);
  h = h + model->block(1, h);
  CHECK(torch::equal(model->forward(x), model->readout(h)));
  CHECK(Mine({})->options().width == MineOptions{}.width);
}

TEST_CASE("a model of a user's own trains: with exact credit it has back-propagation's gradients", "[model]") {
  const auto check = [](auto model, const Batch& batch) {
    const auto exact = BackpropTrainer(model).gradients(batch.x, batch.y);
    const auto local = LocalTrainer(model, Oracle{}, {}, {}, Raw{}).gradients(batch.x, batch.y);
    CHECK(distance(local, exact) < 1e-12);
    LocalTrainer trainer(model, DFA{});
    const auto before = copies(model->parameters());
    trainer.step(batch.x, batch.y);
    const auto after = model->parameters();
    for (std::size_t i = 0; i < after.size(); ++i) CHECK_FALSE(torch::equal(after[i], before[i]));
  };
  torch::manual_seed(1);
  check(lively(Mine({}), torch::kFloat64), small_batch(torch::kFloat64));
  check(lively(std::make_shared<MineImpl>(MineOptions{}), torch::kFloat64), small_batch(torch::kFloat64));
  check(lively(Named(), torch::kFloat64), batch_for(Kind::conv, torch::kFloat64));
}

TEST_CASE("a block may have several layers and parameters, under names of their own", "[model]") {
  torch::manual_seed(1);
  const Named model;

  CHECK(model->blocks() == 2);
  CHECK(model->hidden_shape(0) == Shape{2, 6, 6});
  CHECK(model->hidden_shape(1) == Shape{3, 6, 6});
  CHECK(model->hidden_shape(2) == Shape{5});
  CHECK(parameter_names(*model) == std::vector<std::string>{"gain", "conv.weight", "conv.bias", "norm.weight",
                                                            "norm.bias", "full.weight", "full.bias", "head.weight",
                                                            "head.bias"});
  CHECK(model->embed_parameters().empty());
  CHECK(model->block_parameters(0).size() == 4);
  const auto second = model->block_parameters(1);
  REQUIRE(second.size() == 3);
  CHECK(second[2].is_same(model->named_parameters()["gain"]));
}

TEST_CASE("the example that finds shapes leaves modes, statistics and LibTorch's generator as they were", "[model]") {
  nn::BatchNorm1d norm(6);
  nn::Dropout off(0.5);
  off->eval();
  /// Draws whatever the mode.
  struct NoiseImpl : nn::Module {
    torch::Tensor forward(const torch::Tensor& h) { return h + torch::randn_like(h); }
  };
  const auto noise = std::make_shared<NoiseImpl>();
  const auto statistics = copies(norm->buffers());
  const auto generator = global_generator_state();

  OpenImpl open([&](OpenImpl& self) {
    self.register_block(norm);
    self.register_block(off);
    self.register_block(noise);
    self.find_shapes(torch::ones({4, 6}));
  });

  CHECK(open.hidden_shape(3) == Shape{6});
  CHECK(same(statistics, copies(norm->buffers())));
  CHECK(torch::equal(generator, global_generator_state()));
  CHECK(open.is_training());
  CHECK(norm->is_training());
  CHECK_FALSE(off->is_training());
}

TEST_CASE("shapes may be given instead, also those of a network without blocks", "[model]") {
  OpenImpl open([](OpenImpl& self) {
    self.register_block(nn::Linear(6, 5));
    self.set_shapes({{6}, {5}}, 5);
  });
  CHECK(open.classes() == 5);
  CHECK(open.hidden_shape(1) == Shape{5});

  OpenImpl none([](OpenImpl& self) {
    self.register_readout("unused", nn::Linear(6, 5));
    self.set_shapes({{6}}, 6);
  });
  CHECK(none.blocks() == 0);
  CHECK(torch::equal(none.forward(torch::ones({2, 6})), torch::ones({2, 6})));
}

TEST_CASE("what a model does not have is refused by its number", "[model]") {
  Mine model({});

  CHECK(says(error_of([&] { model->hidden_shape(3); }), {"Mine: there is no h_3, expected 0..2."}));
  CHECK(says(error_of([&] { model->hidden_shape(-1); }), {"Mine: there is no h_-1"}));
  CHECK(says(error_of([&] { model->block_parameters(2); }), {"Mine: there is no block 2, expected 0..1."}));
  CHECK(says(error_of([&] { model->block(-1, torch::ones({1, 5})); }), {"Mine: there is no block -1"}));
  OpenImpl none([](OpenImpl& self) { self.set_shapes({{6}}, 6); });
  CHECK(says(error_of([&] { none.block_parameters(0); }), {"Open: there is no block 0, expected none."}));
}

TEST_CASE("a constructor that forgets something is told what", "[model]") {
  const auto x = torch::ones({1, 6});
  CHECK(says(fault_of([&](OpenImpl& self) { self.find_shapes(x); }),
             {"Open: no blocks are registered; call register_block for each of them before find_shapes."}));
  CHECK(says(fault_of([](OpenImpl& self) {
               self.register_block(nn::Linear(6, 5));
               self.find_shapes({});
             }),
             {"Open: the example is undefined", "torch::zeros({1, 64})"}));
  CHECK(says(fault_of([](OpenImpl& self) {
               self.register_block(nn::Linear(6, 5));
               self.set_shapes({{6}}, 5);
             }),
             {"Open: set_shapes got 1 shapes, but 1 blocks are registered; expected 2"}));

  OpenImpl without_shapes([](OpenImpl& self) { self.register_block(nn::Linear(6, 5)); });
  CHECK(says(error_of([&] { without_shapes.classes(); }),
             {"Open: classes() is not known yet; end the constructor with find_shapes(example)"}));
  CHECK(says(error_of([&] { without_shapes.hidden_shape(0); }), {"Open: hidden_shape(l) is not known yet"}));
  CHECK(without_shapes.forward(x).sizes() == torch::IntArrayRef({1, 5}));

  OpenImpl without_embed([](OpenImpl& self) { self.register_embed("stem", nn::Linear(6, 5)); });
  CHECK(says(error_of([&] { without_embed.embed(x); }), {"Open: layers are registered for the embed", "no embed(x)"}));
  OpenImpl without_block([](OpenImpl& self) { self.register_block(0, "layer", nn::Linear(6, 5)); });
  CHECK(says(error_of([&] { without_block.block(0, x); }), {"Open: block 0 is not one module", "needs block(l, h)"}));
}

TEST_CASE("a registration that makes no network is refused", "[model]") {
  CHECK(says(fault_of([](OpenImpl& self) { self.register_block(nn::Linear(nullptr)); }),
             {"Open: \"blocks.0\" is registered as an empty module."}));
  CHECK(says(fault_of([](OpenImpl& self) { self.register_embed("stem", std::shared_ptr<nn::LinearImpl>()); }),
             {"Open: \"stem\" is registered as an empty module."}));
  CHECK(says(fault_of([](OpenImpl& self) { self.register_readout("gain", torch::Tensor()); }),
             {"Open: \"gain\" is registered as an undefined tensor."}));
  CHECK(says(fault_of([](OpenImpl& self) { self.register_block(1, "layer", nn::Linear(6, 5)); }),
             {"Open: \"layer\" is registered for block 1, but there are 0 blocks so far", "in order, from 0"}));
  CHECK(says(fault_of([](OpenImpl& self) { self.register_block(-1, "gain", torch::ones({5})); }),
             {"Open: \"gain\" is registered for block -1"}));
  CHECK(says(fault_of([](OpenImpl& self) {
               self.register_block(0, "layer", nn::Linear(6, 5));
               self.register_block(nn::Linear(5, 5));
             }),
             {"Open: block 1 has no name, but earlier blocks have"}));
  CHECK(says(fault_of([](OpenImpl& self) {
               self.set_shapes({{6}}, 6);
               self.register_block(nn::Linear(6, 5));
             }),
             {"Open: \"blocks.0\" is registered after the shapes were set"}));
  CHECK(says(fault_of([](OpenImpl& self) {
               self.register_embed("stem", nn::Linear(6, 5));
               self.register_readout("stem", nn::Linear(6, 5));
             }),
             {"'stem' already defined"}));
}

TEST_CASE("stages that do not fit together are named, with their input", "[model]") {
  const auto x = torch::ones({2, 6});
  CHECK(says(fault_of([&](OpenImpl& self) {
               self.register_block(nn::Linear(6, 5));
               self.register_block(nn::Linear(6, 5));
               self.find_shapes(x);
             }),
             {"Open: block 1 cannot take the input (2, 5) that results from the example: "}));
  CHECK(says(
      fault_of([&](OpenImpl& self) {
        self.register_block(nn::Flatten(nn::FlattenOptions().start_dim(0)));
        self.find_shapes(x);
      }),
      {"Open: block 0 gives (12) for the example (2, 6), expected a hidden state with the samples in dimension 0"}));
}
