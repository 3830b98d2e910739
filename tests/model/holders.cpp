// SPDX-License-Identifier: Apache-2.0
#include <concepts>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/model/small_cnn.hpp>
#include <creditlib/model/small_resnet.hpp>
#include <creditlib/model/vit_mini.hpp>
#include <cstddef>
#include <memory>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// A holder is made of its options, of a pointer to its module, or of nullptr, and of nothing else.
template <class Holder, class Impl, class Options>
void check_ways_to_be_made() {
  STATIC_REQUIRE(std::constructible_from<Holder, Options>);
  STATIC_REQUIRE_FALSE(std::convertible_to<Options, Holder>);
  STATIC_REQUIRE(std::convertible_to<std::shared_ptr<Impl>, Holder>);
  STATIC_REQUIRE(std::convertible_to<std::nullptr_t, Holder>);
  STATIC_REQUIRE_FALSE(std::default_initializable<Holder>);
  STATIC_REQUIRE_FALSE(std::constructible_from<Holder, int>);
  STATIC_REQUIRE(std::copyable<Holder>);
}

}  // namespace

TEST_CASE("empty braces are a model with default options, not an empty holder", "[model]") {
  CHECK(ResidualMLP({})->options().width == ResidualMLPOptions{}.width);
  CHECK(SmallCNN({})->options().classes == SmallCNNOptions{}.classes);
  CHECK(SmallResNet({})->options().channels == SmallResNetOptions{}.channels);
  CHECK(ViTMini({})->options().width == ViTMiniOptions{}.width);
  CHECK(says(error_of([] { SequentialBlocks({}); }), {"SequentialBlocks: no blocks were given"}));
}

TEST_CASE("a holder is made of its options, of a module that is there, or of nullptr", "[model]") {
  check_ways_to_be_made<ResidualMLP, ResidualMLPImpl, ResidualMLPOptions>();
  check_ways_to_be_made<SequentialBlocks, SequentialBlocksImpl, SequentialBlocksOptions>();
  check_ways_to_be_made<SmallCNN, SmallCNNImpl, SmallCNNOptions>();
  check_ways_to_be_made<SmallResNet, SmallResNetImpl, SmallResNetOptions>();
  check_ways_to_be_made<ViTMini, ViTMiniImpl, ViTMiniOptions>();

  const auto module = std::make_shared<SmallCNNImpl>(SmallCNNOptions{.classes = 4});
  const SmallCNN held = module, copy = held, none = nullptr;
  CHECK(held.ptr() == module);
  CHECK(copy.ptr() == module);
  CHECK(none.is_empty());
}

TEST_CASE("a hidden state that a model does not have is refused by its number", "[model]") {
  auto model = SequentialBlocks({.blocks = {torch::nn::Sequential(torch::nn::Linear(6, 5))},
                                 .readout = torch::nn::Sequential(torch::nn::Linear(5, 4)),
                                 .example = torch::zeros({1, 6})});

  CHECK(says(error_of([&] { model->hidden_shape(2); }), {"SequentialBlocks: there is no h_2, expected 0..1."}));
  CHECK(says(error_of([&] { model->hidden_shape(-1); }), {"no h_-1"}));
  CHECK(says(error_of([] { SmallCNN({})->hidden_shape(5); }), {"SmallCNN: there is no h_5, expected 0..4."}));
}
