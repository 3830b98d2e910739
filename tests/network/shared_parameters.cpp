// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/block_module.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/normalizer/raw.hpp>

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

Batch six_classes() { return {torch::randn({7, 6}, torch::kFloat64), torch::randint(6, {7})}; }

/// The parameters once each.
template <class Model>
std::vector<torch::Tensor> distinct_parameters(Model& model) {
  return creditlib::detail::parameter_parts(model).all;
}

template <class Model>
void check_sums(Model model) {
  const auto [x, y] = six_classes();
  const auto loss = at::cross_entropy_loss(model->forward(x), y);
  const auto expected = torch::autograd::grad({loss}, distinct_parameters(model));
  BackpropTrainer backprop(model, {});
  LocalTrainer oracle(model, Oracle{}, {}, Raw{});
  CHECK(distance(backprop.gradients(x, y), expected) < 1e-12);
  CHECK(distance(oracle.gradients(x, y), expected) < 1e-12);

  LocalTrainer dfa(model, DFA{}, {});
  const auto first = dfa.step(x, y).loss.template item<double>();
  for (int i = 0; i < 50; ++i) dfa.step(x, y);
  CHECK(std::isfinite(first));
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
    CHECK(distinct_parameters(holder).size() == distinct_parameters(model).size());
    CHECK(same(distinct_parameters(holder), distinct_parameters(model)));
    CHECK_FALSE(distinct_parameters(holder)[0].is_same(distinct_parameters(model)[0]));
  }
}
