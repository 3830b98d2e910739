// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/closed_form/model.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/block_module.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/model/small_cnn.hpp>
#include <creditlib/model/small_resnet.hpp>
#include <creditlib/model/vit_mini.hpp>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"
#include "image_models.hpp"

using namespace creditlib;
using namespace creditlib::test;
namespace nn = torch::nn;

namespace {

struct MineOptions {
  std::int64_t width = 5;
  double rate = 0.5;
};

/// A model of a user's own, with a buffer, a parameter of its own and a layer that LibTorch cannot clone.
class MineImpl : public BlockModule<MineImpl, MineOptions> {
 public:
  explicit MineImpl(const MineOptions& options) : BlockModule(options) {
    struct ShiftImpl : nn::Module {
      ShiftImpl() : by(register_parameter("by", torch::randn({1}))) {}
      torch::Tensor forward(const torch::Tensor& h) { return h + by; }
      torch::Tensor by;
    };
    stem_ = register_embed("stem", nn::Linear(6, options.width));
    token_ = register_embed("token", torch::randn({1, options.width}));
    register_block(
        nn::Sequential(nn::Linear(options.width, options.width), nn::BatchNorm1d(options.width), nn::Tanh()));
    register_block(std::make_shared<ShiftImpl>());
    drop_ = register_readout("drop", nn::Dropout(options.rate));
    head_ = register_readout("head", nn::Linear(nn::LinearOptions(options.width, small_classes).bias(false)));
    calls_ = register_buffer("calls", torch::zeros({}, torch::kInt64));
    find_shapes(torch::zeros({1, 6}));
  }
  torch::Tensor embed(const torch::Tensor& x) { return stem_(x) + token_; }
  torch::Tensor readout(const torch::Tensor& h) {
    if (is_training()) calls_.add_(1);
    return head_(drop_(h));
  }

 private:
  nn::Linear stem_ = nullptr, head_ = nullptr;
  nn::Dropout drop_ = nullptr;
  torch::Tensor token_, calls_;
};
using Mine = ModelHolder<MineImpl>;

std::vector<std::string> names_of(const nn::Module& module) {
  std::vector<std::string> names;
  for (const auto& entry : module.named_parameters()) names.push_back(entry.key());
  for (const auto& entry : module.named_buffers()) names.push_back(entry.key());
  for (const auto& entry : module.named_modules("", false)) names.push_back(entry.key());
  return names;
}

std::vector<torch::Tensor> tensors_of(const nn::Module& module) {
  auto tensors = module.parameters();
  for (const auto& buffer : module.buffers()) tensors.push_back(buffer);
  return tensors;
}

std::vector<bool> modes_of(const nn::Module& module) {
  std::vector<bool> modes{module.is_training()};
  for (const auto& entry : module.modules(false)) modes.push_back(entry->is_training());
  return modes;
}

/// A model in an unusual state: a frozen parameter, one layer in eval mode.
template <class Model>
Model unusual(Model model) {
  model->parameters().front().set_requires_grad(false);
  model->modules(false).back()->eval();
  return model;
}

/// Everything that a copy must have of its model, and nothing that it may share.
template <class Model, class Copy>
void check_is_copy(Model& model, Copy& copy, const Batch& batch) {
  CHECK(names_of(*copy) == names_of(*model));
  const auto of_model = tensors_of(*model), of_copy = tensors_of(*copy);
  CHECK(same(of_copy, of_model));
  std::set<const void*> storage;
  for (const auto& tensor : of_model) storage.insert(tensor.data_ptr());
  for (std::size_t i = 0; i < of_copy.size(); ++i) {
    CHECK(storage.count(of_copy[i].data_ptr()) == 0);
    CHECK(of_copy[i].requires_grad() == of_model[i].requires_grad());
    CHECK(of_copy[i].is_leaf());
  }
  CHECK(modes_of(*copy) == modes_of(*model));
  CHECK(c10::str(*copy) == c10::str(*model));
  CHECK(copy->blocks() == model->blocks());
  CHECK(copy->classes() == model->classes());
  for (std::int64_t l = 0; l <= model->blocks(); ++l) CHECK(copy->hidden_shape(l) == model->hidden_shape(l));
  CHECK(BackpropTrainer(copy).path() == BackpropTrainer(model).path());

  const auto forward = [&](auto& held) {
    torch::manual_seed(5);
    return held->forward(batch.x);
  };
  CHECK(torch::equal(forward(copy), forward(model)));
}

/// Trains the copy, then the model: each alone, and to the same numbers.
template <class Model, class Copy>
void check_is_independent(Model& model, Copy& copy, const Batch& batch) {
  const auto before = copies(tensors_of(*model));
  const auto train = [&](auto& held) {
    torch::manual_seed(5);
    LocalTrainer trainer(held, DFA{});
    for (int i = 0; i < 2; ++i) trainer.step(batch.x, batch.y);
  };
  train(copy);
  CHECK(same(copies(tensors_of(*model)), before));
  CHECK_FALSE(same(copies(tensors_of(*copy)), before));
  const auto trained = copies(tensors_of(*copy));
  train(model);
  CHECK(same(copies(tensors_of(*copy)), trained));
  CHECK(same(copies(tensors_of(*model)), trained));
}

template <class Model>
void check_clone(const Model& made, const Batch& batch) {
  auto model = unusual(made);
  const auto generator = global_generator_state();
  auto copy = model->clone();
  CHECK(torch::equal(global_generator_state(), generator));
  check_is_copy(model, copy, batch);
  check_is_independent(model, copy, batch);

  // LibTorch's own clone(), by the base class.
  const torch::nn::Module& base = *model;
  const auto by_base = std::dynamic_pointer_cast<typename Model::ContainedType>(base.clone());
  REQUIRE(by_base);
  Model held = by_base;
  check_is_copy(model, held, batch);
}

Batch image_batch(std::vector<std::int64_t> sizes, torch::Dtype dtype = torch::kFloat32) {
  torch::manual_seed(12);
  return {torch::randn(sizes).to(dtype), torch::randint(small_classes, {sizes[0]})};
}

/// Subclasses that do not override clone().
struct HalvedMLPImpl : ResidualMLPImpl {
  using ResidualMLPImpl::ResidualMLPImpl;
  torch::Tensor block(std::int64_t l, const torch::Tensor& h) { return ResidualMLPImpl::block(l, h) / 2; }
};
struct HalvedBlocksImpl : SequentialBlocksImpl {
  using SequentialBlocksImpl::SequentialBlocksImpl;
};
/// One that does.
struct ThirdMLPImpl : ResidualMLPImpl {
  using ResidualMLPImpl::clone;
  using ResidualMLPImpl::ResidualMLPImpl;
  std::shared_ptr<torch::nn::Module> clone(const std::optional<torch::Device>& device) const override {
    return clone_of([this] { return std::make_shared<ThirdMLPImpl>(options()); }, device);
  }
};

/// Layers for a stage: one without clone(), one that inherits its base's.
struct ShiftImpl : nn::Module {
  torch::Tensor forward(torch::Tensor h) { return h + 1; }
};
struct HalvedLinearImpl : nn::LinearImpl {
  using LinearImpl::LinearImpl;
  torch::Tensor forward(const torch::Tensor& h) { return LinearImpl::forward(h) / 2; }
};

const ResidualMLPOptions small_options{.input = 6, .width = 5, .classes = small_classes, .blocks = 3};

}  // namespace

TEST_CASE("a clone of each model is an independent copy, to the bit", "[model]") {
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    check_clone(residual_mlp(dtype), batch_for(Kind::residual_mlp, dtype));
    torch::manual_seed(1);
    check_clone(lively(SmallCNN({.classes = 4, .input = 1, .image = 8}), dtype), image_batch({3, 1, 8, 8}, dtype));
    check_clone(lively(SmallResNet({.channels = 3, .classes = 4, .blocks = 2, .image = 5}), dtype),
                image_batch({3, 3, 5, 5}, dtype));
    check_clone(lively(ViTMini({.width = 8, .heads = 2, .blocks = 2, .classes = 4, .patch = 2, .image = 6}), dtype),
                image_batch({3, 3, 6, 6}, dtype));
    check_clone(lively(Mine({}), dtype), batch_for(Kind::residual_mlp, dtype));
  }
}

TEST_CASE("a clone of SequentialBlocks has stages of its own", "[model]") {
  for (const auto kind : every_kind) {
    if (kind == Kind::residual_mlp) continue;
    INFO("on " << name(kind));
    check_clone(stages(kind), batch_for(kind));
    check_clone(stages(kind, torch::kFloat64), batch_for(kind, torch::kFloat64));
  }
}

TEST_CASE("a clone's closed form is of its own parameters", "[model]") {
  const auto check = [](auto model) {
    auto copy = model->clone();
    const auto network = copy->closed_form();
    REQUIRE(network.has_value());
    const auto& weight = std::get<closed_form::Linear>(network->readout.back()).weight;
    CHECK(weight.is_same(copy->readout_parameters()[copy->readout_parameters().size() - 2]));
    BackpropTrainer trainer(copy);
    CHECK(trainer.path() == Path::ClosedForm);
  };
  check(residual_mlp());
  check(stages(Kind::plain));
}

TEST_CASE("a clone keeps the names of a stage's layers and what was changed in them", "[model]") {
  nn::Sequential stage({{"first", nn::Linear(6, 5)}, {"drop", nn::Dropout(0.5)}});
  auto model = SequentialBlocks(
      {.blocks = {stage}, .readout = nn::Sequential(nn::Linear(5, 4)), .example = torch::zeros({1, 6})});
  (*stage)[1]->as<nn::Dropout>()->options.p(0.25);

  auto copy = model->clone();

  CHECK(copy->named_parameters().contains("blocks.0.first.weight"));
  CHECK(copy->options().blocks[0]->ptr(1)->as<nn::Dropout>()->options.p() == 0.25);
  CHECK(copy->options().blocks[0].ptr() != stage.ptr());
}

TEST_CASE("a clone goes to a trainer, a holder, or another clone", "[model]") {
  auto model = residual_mlp();
  const auto batch = small_batch();

  auto copy = model->clone();
  STATIC_REQUIRE(std::same_as<decltype(copy), std::shared_ptr<ResidualMLPImpl>>);
  LocalTrainer trainer(copy, DFA{});
  CHECK(std::isfinite(trainer.step(batch.x, batch.y).loss.item<double>()));
  const ResidualMLP held = model->clone();
  CHECK(torch::equal(held->clone()->clone()->forward(batch.x), model->forward(batch.x)));
}

TEST_CASE("a clone on a device that the model is on already is a copy too", "[model]") {
  auto model = residual_mlp(torch::kFloat64);
  const torch::Device device(torch::kCPU);

  for (const auto& copy : {model->clone(device), model->clone(torch::kCPU)}) {
    CHECK(same(copy->parameters(), model->parameters()));
    CHECK(copy->parameters()[0].data_ptr() != model->parameters()[0].data_ptr());
  }
  CHECK(same(model->clone(std::optional(device))->parameters(), model->parameters()));
}

TEST_CASE("a clone has neither gradients nor the graph of its model", "[model]") {
  auto model = residual_mlp();
  model->forward(small_batch().x).sum().backward();

  auto copy = model->clone();

  for (const auto& parameter : copy->parameters()) CHECK_FALSE(parameter.grad().defined());
  for (const auto& parameter : model->parameters()) CHECK(parameter.grad().defined());
}

TEST_CASE("a model inside a module that LibTorch clones is cloned with it", "[model]") {
  /// LibTorch's own way: reset() makes the parts, clone() fills them.
  struct PairImpl : nn::Cloneable<PairImpl> {
    PairImpl() { reset(); }
    void reset() override { inner = register_module("inner", ResidualMLP(small_options)); }
    ResidualMLP inner = nullptr;
  };
  torch::manual_seed(3);
  PairImpl pair;
  const auto x = small_batch().x;

  const auto copy = std::dynamic_pointer_cast<PairImpl>(pair.clone());

  REQUIRE(copy);
  CHECK(copy->inner.ptr() != pair.inner.ptr());
  CHECK(torch::equal(copy->inner->forward(x), pair.inner->forward(x)));
  CHECK(same(copy->parameters(), pair.parameters()));
  const torch::NoGradGuard no_grad;
  for (auto& parameter : copy->parameters()) parameter.zero_();
  CHECK_FALSE(same(copy->parameters(), pair.parameters()));
}

TEST_CASE("a model among the layers of a stage is cloned with it", "[model]") {
  torch::manual_seed(3);
  auto model = SequentialBlocks({.blocks = {nn::Sequential(ResidualMLP(small_options))},
                                 .readout = nn::Sequential(nn::Linear(4, 4)),
                                 .example = torch::zeros({1, 6})});
  check_clone(model, small_batch());
}

TEST_CASE("a subclass is never cloned as its base", "[model]") {
  const auto halved = std::make_shared<HalvedMLPImpl>(small_options);
  CHECK(says(error_of([&] { halved->clone(); }),
             {"HalvedMLP: clone() would make a ResidualMLP of it; override clone(device) in HalvedMLP"}));
  const torch::nn::Module& base = *halved;
  CHECK(says(error_of([&] { base.clone(); }), {"HalvedMLP: clone() would make a ResidualMLP"}));
  const HalvedBlocksImpl blocks({.blocks = {nn::Sequential(nn::Linear(6, 5))},
                                 .readout = nn::Sequential(nn::Linear(5, 4)),
                                 .example = torch::zeros({1, 6})});
  CHECK(says(error_of([&] { blocks.clone(); }), {"HalvedBlocks: clone() would make a SequentialBlocks of it"}));

  const auto third = std::make_shared<ThirdMLPImpl>(small_options);
  const auto copy = std::dynamic_pointer_cast<ThirdMLPImpl>(third->clone());
  REQUIRE(copy);
  CHECK(same(copy->parameters(), third->parameters()));
}

TEST_CASE("a stage that cannot be cloned is named", "[model]") {
  const auto message = [](const nn::Sequential& block) {
    auto model = SequentialBlocks(
        {.blocks = {block}, .readout = nn::Sequential(nn::Linear(6, 4)), .example = torch::zeros({1, 6})});
    return error_of([&] { model->clone(); });
  };
  const auto shift = std::make_shared<ShiftImpl>();
  CHECK(says(message(nn::Sequential(nn::Linear(6, 6), shift)),
             {"SequentialBlocks: layer 1 (Shift) of block 0 cannot be cloned; derive its class from "
              "torch::nn::Cloneable, or override clone()."}));
  CHECK(says(message(nn::Sequential(std::make_shared<HalvedLinearImpl>(6, 6))), {"layer 0 (HalvedLinear) of block 0"}));
}

TEST_CASE("a copy that its constructor would make differently is refused", "[model]") {
  /// Layers that depend on more than the options.
  class ChangedImpl : public BlockModule<ChangedImpl, MineOptions> {
   public:
    explicit ChangedImpl(const MineOptions& options) : BlockModule(options) {
      register_block(nn::Linear(6, options.width));
      head_ = register_readout("head", nn::Linear(options.width, 4));
      drop_ = register_readout("drop", nn::Dropout(0.5));
      find_shapes(torch::zeros({1, 6}));
    }
    torch::Tensor readout(const torch::Tensor& h) { return drop_(head_(h)); }
    nn::Linear head_ = nullptr;
    nn::Dropout drop_ = nullptr;
  };
  ChangedImpl model({});
  CHECK(error_of([&] { model.clone(); }) == "(nothing was thrown)");

  model.drop_->options.p(0.25);
  CHECK(says(error_of([&] { model.clone(); }),
             {"Changed: the copy has layer drop as torch::nn::Dropout(p=0.5", "the model as torch::nn::Dropout(p=0.25",
              "change a layer in the constructor, not afterwards"}));
  model.drop_->options.p(0.5);
  model.register_buffer("more", torch::zeros({2}));
  CHECK(
      says(error_of([&] { model.clone(); }), {"Changed: the copy has buffer more as none, the model as (2) float32"}));
}

TEST_CASE("a model that is not made of options says what clone() needs", "[model]") {
  class WideImpl : public BlockModule<WideImpl> {
   public:
    explicit WideImpl(std::int64_t width) {
      register_block(nn::Linear(6, width));
      set_shapes({{6}, {width}}, width);
    }
    torch::Tensor readout(const torch::Tensor& h) { return h; }
  };
  const WideImpl model(3);
  CHECK(says(error_of([&] { model.clone(); }),
             {"Wide: clone() makes the copy from options, which the class does not have", "override clone(device)"}));
}
