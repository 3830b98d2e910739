// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/diagnostics/parameter_cosine.hpp>
#include <creditlib/diagnostics/parameter_gradients.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/objective/squared_error.hpp>

#include "../quadratic.hpp"
#include "../test.hpp"
#include "written_out.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("parameter cosines are of each part's own parameters", "[diagnostics]") {
  auto model = std::make_shared<UnorderedImpl>();
  const std::vector<torch::Tensor> rule{numbers({1, 0, 0, 0, 0, 0}).view({3, 2}), numbers({3, 4, 0, 0}).view({2, 2}),
                                        numbers({1, 1, 1, 1}).view({2, 2})};
  const std::vector<torch::Tensor> backprop{numbers({1, 1, 0, 0, 0, 0}).view({3, 2}),
                                            numbers({4, 3, 0, 0}).view({2, 2}), numbers({-2, -2, -2, -2}).view({2, 2})};

  const auto found = diagnostics::parameter_cosine(model, rule, backprop);

  CHECK(*found.readout.value == Approx(std::sqrt(0.5)));
  CHECK(*found.embed.value == Approx(24. / 25));
  REQUIRE(found.blocks.size() == 1);
  CHECK(*found.blocks[0].value == Approx(-1));
  CHECK(*found.all.value == Approx((1 + 24 - 8) / std::sqrt(30. * (2 + 25 + 16))));
}

TEST_CASE("parameter cosines take an undefined gradient for 0, and have no value where there is nothing to compare",
          "[diagnostics]") {
  auto model = std::make_shared<UnorderedImpl>();
  const auto g = torch::ones({2, 2});
  const std::vector<torch::Tensor> rule{torch::Tensor(), torch::Tensor(), g}, backprop{torch::Tensor(), g, g};

  const auto found = diagnostics::parameter_cosine(model, rule, backprop);

  CHECK(found.readout.reason == "there are no gradients here");
  CHECK(found.embed.reason == "one of the two is 0 or not finite");
  CHECK(*found.blocks[0].value == Approx(1));
  CHECK(*found.all.value == Approx(std::sqrt(0.5)));
  CHECK(says(error_of([&] { diagnostics::parameter_cosine(model, rule, {g}); }),
             {"1 parameter gradients", "expected 3"}));
  auto no_embed = stages(Kind::no_embed);
  const auto batch = batch_for(Kind::no_embed);
  const auto own = diagnostics::parameter_gradients(no_embed, batch.x, batch.y);
  CHECK(diagnostics::parameter_cosine(no_embed, own, own).embed.reason == "there are no parameters here");
}

TEST_CASE("the oracle's updates have the parameter cosine 1 with back-propagation's, clipped too, DFA's not",
          "[diagnostics]") {
  for (const auto kind : {Kind::batch_norm, Kind::dropout, Kind::conv, Kind::tokens}) {
    INFO(name(kind));
    auto model = stages(kind);
    const auto batch = batch_for(kind);
    LocalTrainer oracle(model, Oracle{}, {.clip_norm = 0.01}, {}, Raw{});
    LocalTrainer dfa(model, DFA{}, {.seed = 3});
    torch::manual_seed(6);
    const ModuleState before(*model);
    const auto exact = diagnostics::parameter_gradients(model, batch.x, batch.y);

    const auto of_oracle = diagnostics::parameter_cosine(model, oracle.gradients(batch.x, batch.y), exact);
    const auto of_dfa = diagnostics::parameter_cosine(model, dfa.gradients(batch.x, batch.y), exact);

    CHECK(before == ModuleState(*model));
    CHECK(*of_oracle.embed.value > 1 - 1e-5);
    for (const auto& block : of_oracle.blocks) CHECK(*block.value > 1 - 1e-5);
    for (const auto& block : of_dfa.blocks) CHECK(*block.value < 0.95);
    CHECK(*of_oracle.readout.value > 1 - 1e-6);
    CHECK(*of_dfa.readout.value > 1 - 1e-6);
  }
}

TEST_CASE("parameter gradients are those of the mean loss, undefined for frozen parameters", "[diagnostics]") {
  auto net = quadratic();
  net.model->block_parameters(1)[0].requires_grad_(false);

  const auto found = diagnostics::parameter_gradients(net.model, net.x, net.y, SquaredError{});

  const auto e = net.x.mm(net.model->embed_parameters()[0].detach().t()).mm(net.rest[0].t()) - net.y;
  CHECK(distance(found[0], (e.mm(net.rest[0])).t().mm(net.x) / 9) < 1e-13);
  CHECK_FALSE(found[2].defined());
  CHECK_FALSE(net.model->embed_parameters()[0].grad().defined());
}
