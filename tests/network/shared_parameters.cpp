// SPDX-License-Identifier: Apache-2.0
#include <creditlib/any_trainer.hpp>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/diagnostics/norm_matched.hpp>
#include <creditlib/diagnostics/parameter_gradients.hpp>
#include <creditlib/diagnostics/trial_step.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/block_module.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/scope/in_float64.hpp>

#include "../models.hpp"
#include "../test.hpp"

// Layers that stand in several places: in a block, at several depths, in the embed and in the readout.

using namespace creditlib;
using namespace creditlib::test;
using torch::nn::Linear;
using torch::nn::Sequential;
using torch::nn::Tanh;

namespace {

enum class Sharing { in_a_block, between_blocks, between_all_parts };

SequentialBlocks shared_net(Sharing sharing) {
  Linear layer(6, 6), other(6, 6), head(6, 6);
  const bool in_block = sharing == Sharing::in_a_block, everywhere = sharing == Sharing::between_all_parts;
  SequentialBlocks model({.embed = Sequential(everywhere ? layer : other),
                          .blocks = {in_block ? Sequential(layer, Tanh(), layer) : Sequential(layer, Tanh()),
                                     in_block ? Sequential(Linear(6, 6), Tanh()) : Sequential(layer, Tanh())},
                          .readout = Sequential(everywhere ? layer : head),
                          .example = torch::zeros({1, 6})});
  model->to(torch::kFloat64);
  return model;
}

/// The embed's matrix is the readout's, transposed.
struct TiedNetImpl : BlockModule<TiedNetImpl> {
  TiedNetImpl() {
    matrix = register_embed("matrix", torch::randn({6, 5}, torch::kFloat64));
    register_block(Sequential(Linear(Linear(5, 5))))->to(torch::kFloat64);
    find_shapes(torch::zeros({1, 6}, torch::kFloat64));
  }
  torch::Tensor embed(const torch::Tensor& x) { return x.mm(matrix); }
  torch::Tensor join(std::int64_t, const torch::Tensor& h, const torch::Tensor& f) { return h + f; }
  torch::Tensor readout(const torch::Tensor& h) { return h.mm(matrix.t()); }
  std::vector<torch::Tensor> readout_parameters() const { return {matrix}; }
  torch::Tensor matrix;
};
using TiedNet = ModelHolder<TiedNetImpl>;

/// The same for token ids, with the embedding's weight registered in both parts.
struct TiedTokensImpl : BlockModule<TiedTokensImpl> {
  TiedTokensImpl() {
    ids = register_embed("ids", torch::nn::Embedding(6, 5));
    register_block(Sequential(Linear(5, 5), Tanh()));
    head = register_readout("head", ids->weight);
    set_any_positions();
    find_shapes(torch::zeros({1, 3}, torch::kInt64));
  }
  torch::Tensor embed(const torch::Tensor& x) { return ids(x); }
  torch::Tensor join(std::int64_t, const torch::Tensor& h, const torch::Tensor& f) { return h + f; }
  torch::Tensor readout(const torch::Tensor& h) { return h.matmul(head.t()); }
  torch::nn::Embedding ids = nullptr;
  torch::Tensor head;
};
using TiedTokens = ModelHolder<TiedTokensImpl>;

Batch six_classes() { return {torch::randn({7, 6}, torch::kFloat64), torch::randint(6, {7})}; }

/// The parameters once each, as trainers have them.
template <class Model>
std::vector<torch::Tensor> trained_parameters_of(Model& model) {
  return creditlib::detail::parameter_parts(model).all;
}

template <class Model>
void check_sums(Model model) {
  const auto [x, y] = six_classes();
  const auto loss = at::cross_entropy_loss(model->forward(x), y);
  const auto expected = torch::autograd::grad({loss}, trained_parameters_of(model));
  BackpropTrainer backprop(model, {});
  LocalTrainer oracle(model, Oracle{}, {}, Raw{});
  CHECK(distance(backprop.gradients(x, y), expected) < 1e-12);
  CHECK(distance(oracle.gradients(x, y), expected) < 1e-12);

  LocalTrainer dfa(model, DFA{}, {});
  const auto first = dfa.step(x, y).loss.template item<double>();
  for (int i = 0; i < 50; ++i) dfa.step(x, y);
  CHECK(std::isfinite(first));
}

template <class Model>
std::vector<torch::Tensor> layer_copies(Model& model) {
  std::vector<torch::Tensor> copies;
  for (const auto& parameter : model->parameters()) copies.push_back(parameter.detach().clone());
  return copies;
}

/// LibTorch's list, in which a shared parameter stands several times.
template <class Model>
std::vector<torch::Tensor> listed_by_libtorch(Model& model) {
  const torch::nn::Module& module = *model;
  return module.parameters();
}

}  // namespace

TEST_CASE("a shared parameter has the sum of the gradients of its places", "[network][shared]") {
  torch::manual_seed(1);
  for (const auto sharing : {Sharing::in_a_block, Sharing::between_blocks, Sharing::between_all_parts}) {
    check_sums(shared_net(sharing));
  }
  check_sums(TiedNet());
}

TEST_CASE("under local credit it is the sum of the local gradients", "[network][shared]") {
  torch::manual_seed(2);
  auto tied = shared_net(Sharing::between_blocks);
  auto untied = SequentialBlocks({.embed = Sequential(Linear(6, 6)),
                                  .blocks = {Sequential(Linear(6, 6), Tanh()), Sequential(Linear(6, 6), Tanh())},
                                  .readout = Sequential(Linear(6, 6)),
                                  .example = torch::zeros({1, 6})});
  untied->to(torch::kFloat64);
  {
    const torch::NoGradGuard no_grad;
    auto names = untied->named_parameters();
    for (const auto& entry : tied->named_parameters()) names[entry.key()].copy_(entry.value());
  }
  const auto [x, y] = six_classes();
  LocalTrainer one(tied, DFA{}, {}), two(untied, DFA{}, {});
  CHECK(one.path() == Path::Generic);
  const auto sums = one.gradients(x, y), parts = two.gradients(x, y);
  REQUIRE(sums.size() == 6);
  REQUIRE(parts.size() == 8);
  CHECK(distance(std::vector{sums[2], sums[3]}, std::vector{parts[2] + parts[4], parts[3] + parts[5]}) < 1e-12);
}

TEST_CASE("a copy shares what the model shares", "[network][shared]") {
  for (const auto sharing : {Sharing::in_a_block, Sharing::between_blocks, Sharing::between_all_parts}) {
    auto model = shared_net(sharing);
    const SequentialBlocks copy = model->clone();
    auto holder = copy;
    CHECK(trained_parameters_of(holder).size() == trained_parameters_of(model).size());
    CHECK(same(trained_parameters_of(holder), trained_parameters_of(model)));
    CHECK_FALSE(trained_parameters_of(holder)[0].is_same(trained_parameters_of(model)[0]));
  }
}

TEST_CASE("a model lists a shared parameter once, in the order of the gradients", "[network][shared]") {
  for (const auto sharing : {Sharing::in_a_block, Sharing::between_blocks, Sharing::between_all_parts}) {
    auto model = shared_net(sharing);
    const auto [x, y] = six_classes();
    const auto once = model->parameters();
    CHECK(listed_by_libtorch(model).size() > once.size());
    CHECK(same(once, trained_parameters_of(model)));
    CHECK(same(creditlib::distinct_parameters(*model), once));
    CHECK(BackpropTrainer(model, {}).gradients(x, y).size() == once.size());
    AnyTrainer any(LocalTrainer(model, DFA{}, {}));
    CHECK(same(any.parameters(), once));

    // What an own loop over them does to .grad() it does once.
    LocalTrainer trainer(model, DFA{}, {});
    const auto gradients = trainer.gradients(x, y);
    for (int part = 0; part < 2; ++part) trainer.backward(x, y);
    for (auto& parameter : model->parameters()) parameter.mutable_grad().div_(2);
    for (std::size_t i = 0; i < once.size(); ++i) CHECK(torch::allclose(once[i].grad(), gradients[i], 1e-9, 1e-12));
  }
}

TEST_CASE("an optimizer of LibTorch's that would update a shared parameter twice is refused", "[network][shared]") {
  auto model = shared_net(Sharing::between_blocks);
  const auto trained_by = [&](auto optimizer) { LocalTrainer(model, DFA{}, {}, std::move(optimizer)); };
  using torch::optim::SGD, torch::optim::SGDOptions, torch::optim::OptimizerParamGroup;
  CHECK(says(error_of([&] { trained_by(SGD(listed_by_libtorch(model), SGDOptions(0.1))); }),
             {"Parameter blocks.0.0.weight is in the optimizer's parameter groups more than once",
              "distinct_parameters(*model)"}));
  std::vector<OptimizerParamGroup> groups{OptimizerParamGroup(model->parameters()),
                                          OptimizerParamGroup(model->block_parameters(1))};
  CHECK(says(error_of([&] { trained_by(SGD(groups, SGDOptions(0.1))); }),
             {"Parameter blocks.0.0.weight is in the optimizer's parameter groups more than once",
              "distinct_parameters(*model)"}));

  const auto [x, y] = six_classes();
  LocalTrainer trainer(model, DFA{}, {}, SGD(model->parameters(), SGDOptions(0.1)));
  const auto gradient = trainer.gradients(x, y)[2];
  const auto before = model->parameters()[2].detach().clone();
  trainer.step(x, y);
  CHECK(torch::allclose(model->parameters()[2], before - 0.1 * gradient, 1e-9, 1e-12));
}

TEST_CASE("a model that shares parameters and buffers is float32 again behind InFloat64", "[network][shared][scope]") {
  torch::nn::BatchNorm1d norm(6);
  Linear layer(6, 6);
  SequentialBlocks model({.blocks = {Sequential(layer, norm), Sequential(layer, norm)},
                          .readout = Linear(6, 6),
                          .example = torch::zeros({1, 6})});
  const auto weight = layer->weight.detach().clone();
  {
    const scope::InFloat64 network(*model);
    CHECK(layer->weight.scalar_type() == torch::kFloat64);
  }
  CHECK(torch::equal(layer->weight, weight));
  for (const auto& parameter : model->parameters()) CHECK(parameter.scalar_type() == torch::kFloat32);
  CHECK(norm->running_mean.scalar_type() == torch::kFloat32);
}

TEST_CASE("trial steps move a shared parameter once", "[network][shared][diagnostics]") {
  auto model = shared_net(Sharing::between_all_parts);
  const auto [x, y] = six_classes();
  const auto update = diagnostics::parameter_gradients(model, x, y);
  const auto before = layer_copies(model);
  {
    diagnostics::TrialStep trial(*model);
    trial.step(update, 0.1);
    for (std::size_t i = 0; i < update.size(); ++i) {
      CHECK(torch::allclose(model->parameters()[i], before[i] - 0.1 * update[i], 1e-9, 1e-12));
    }
  }
  CHECK(same(model->parameters(), before));
  CHECK(diagnostics::norm_matched_step(model, update, x, y, x, y, 1e-3).ratio.value == Approx(1));
}

TEST_CASE("a readout of the embed's matrix has the sum of both gradients, and stays tied", "[network][shared]") {
  torch::manual_seed(3);
  TiedTokens model;
  model->to(torch::kFloat64);
  const auto x = torch::randint(6, {7, 4}), y = torch::randint(6, {7, 4});
  const auto loss = at::cross_entropy_loss(model->forward(x).transpose(1, 2), y);
  const auto expected = torch::autograd::grad({loss}, model->parameters());
  REQUIRE(expected.size() == 3);
  CHECK(distance(BackpropTrainer(model, {}).gradients(x, y), expected) < 1e-12);
  CHECK(distance(LocalTrainer(model, Oracle{}, {}, Raw{}).gradients(x, y), expected) < 1e-12);
  const auto copy = model->clone();
  LocalTrainer(copy, DFA{}, {}).step(x, y);
  CHECK(copy->head.is_same(copy->ids->weight));
  CHECK_FALSE(torch::equal(copy->head, model->head));
}
