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

TEST_CASE("a parameter that layers share is of the first part that lists it", "[network]") {
  Linear layer(6, 6);
  SequentialBlocks model({.embed = Sequential(Linear(6, 6)),
                          .blocks = {Sequential(layer, Tanh(), layer), Sequential(layer)},
                          .readout = Sequential(Linear(6, small_classes)),
                          .example = torch::zeros({1, 6})});
  const auto parts = creditlib::detail::parameter_parts(model);
  CHECK(parts.all.size() == 6);
  CHECK(parts.blocks == std::vector<std::vector<std::size_t>>{{2, 3}, {}});
}
