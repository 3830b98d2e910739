// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/network/detail/parameter_parts.hpp>
#include <numeric>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
using torch::nn::Linear;
using torch::nn::Sequential;
using torch::nn::Tanh;

TEST_CASE("each parameter of a model is in one part, in the order of parameters()", "[network]") {
  for (const auto kind : every_kind) {
    INFO("on " << name(kind));
    if (kind == Kind::residual_mlp) continue;  // below
    auto model = stages(kind);

    const auto parts = creditlib::detail::parameter_parts(model);

    CHECK(same(parts.all, model->parameters()));
    auto positions = parts.embed;
    for (const auto& block : parts.blocks) positions.insert(positions.end(), block.begin(), block.end());
    positions.insert(positions.end(), parts.readout.begin(), parts.readout.end());
    std::vector<std::size_t> expected(parts.all.size());
    std::iota(expected.begin(), expected.end(), 0);
    CHECK(positions == expected);
    CHECK(parts.blocks.size() == static_cast<std::size_t>(model->blocks()));
    CHECK(parts.embed.empty() == (kind == Kind::no_embed));
  }
  auto mlp = residual_mlp();
  const auto parts = creditlib::detail::parameter_parts(mlp);
  CHECK(same(parts.all, mlp->parameters()));
  CHECK(parts.blocks.size() == 3);
  CHECK(parts.readout.back() + 1 == parts.all.size());
}

TEST_CASE("a layer that stands twice in a part is refused by its name, with the cure", "[network]") {
  const std::string cure = "twice: a layer stands twice in this part; use separate layers";
  const auto message = [](const Sequential& embed, const Sequential& block) {
    return error_of([&] {
      SequentialBlocks model({.embed = embed,
                              .blocks = {block},
                              .readout = Sequential(Linear(6, small_classes)),
                              .example = torch::zeros({1, 6})});
      creditlib::detail::parameter_parts(model);
    });
  };
  Linear layer(6, 6);

  CHECK(says(message(Sequential(Linear(6, 6)), Sequential(layer, Tanh(), layer)),
             {"block_parameters(0) lists parameter blocks.0.0.weight ", cure}));
  CHECK(says(message(Sequential(layer, Tanh(), layer), Sequential(Linear(6, 6))),
             {"embed_parameters() lists parameter embed.0.weight ", cure}));
  CHECK(says(message(Sequential(layer), Sequential(layer)), {"in embed_parameters() and in block_parameters(0)"}));
  CHECK(message(Sequential(Linear(6, 6)), Sequential(layer, Tanh(), Linear(6, 6))) == "(nothing was thrown)");
}

TEST_CASE("no trainer is made of a model in which a layer stands twice in a block", "[network][errors]") {
  Linear layer(6, 6);
  SequentialBlocks model({.blocks = {Sequential(layer, Tanh(), layer)},
                          .readout = Sequential(Linear(6, small_classes)),
                          .example = torch::zeros({1, 6})});

  CHECK(says(error_of([&] { LocalTrainer trainer(model, DFA{}); }), {"blocks.0.0.weight twice"}));
  CHECK(says(error_of([&] { BackpropTrainer trainer(model); }), {"blocks.0.0.weight twice"}));
}
