// SPDX-License-Identifier: Apache-2.0
#include <creditlib/credit/channel_goodness.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/mix.hpp>
#include <creditlib/objective/binary_cross_entropy.hpp>
#include <creditlib/objective/smooth_l1.hpp>
#include <creditlib/objective/squared_error.hpp>
#include <creditlib/schedule/blend.hpp>

#include "../trace_of.hpp"
#include "by_hand.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// h_0 is (5, 2, 3), h_1 (8); 4 classes.
SequentialBlocks map_and_vector() {
  torch::manual_seed(2);
  using namespace torch::nn;
  SequentialBlocks model({.embed = Sequential(Conv2d(Conv2dOptions(1, 5, 3).padding(1))),
                          .blocks = {Sequential(Flatten(), Linear(30, 8))},
                          .readout = Sequential(Linear(8, small_classes)),
                          .example = torch::zeros({1, 1, 2, 3})});
  model->to(torch::kFloat64);
  return model;
}

/// The mean of squares over features begin..end and all positions, per sample, (B).
torch::Tensor goodness_of(const torch::Tensor& h, std::int64_t begin, std::int64_t end) {
  return h.slice(1, begin, end).square().flatten(1).mean(1);
}

}  // namespace

TEST_CASE("ChannelGoodness' credit is the gradient of cross-entropy over the groups' goodness",
          "[credit][channel_goodness]") {
  auto model = map_and_vector();
  const auto trace =
      trace_of(model, Batch{torch::randn({7, 1, 2, 3}, torch::kFloat64), torch::randint(small_classes, {7})});

  const auto credits = ChannelGoodness{}.bind(model, context(torch::kFloat64)).credit(model, trace);

  // 5 channels: groups of 1, 1, 1 and 2. 8 features: of 2 each.
  const std::vector<std::vector<std::int64_t>> begins{{0, 1, 2, 3, 5}, {0, 2, 4, 6, 8}};
  for (std::size_t l = 0; l < 2; ++l) {
    const auto h = trace.hidden[l].clone().requires_grad_();
    std::vector<torch::Tensor> goodness;
    for (std::size_t j = 0; j < 4; ++j) goodness.push_back(goodness_of(h, begins[l][j], begins[l][j + 1]));
    const auto loss =
        torch::nn::functional::cross_entropy(torch::stack(goodness, 1), trace.target,
                                             torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kSum));
    CHECK(distance(credits[l], torch::autograd::grad({loss}, {h})[0]) < 1e-12);
  }
}

TEST_CASE("ChannelGoodness reads labels and hidden states alone", "[credit][channel_goodness]") {
  auto model = map_and_vector();
  const auto trace =
      trace_of(model, Batch{torch::randn({7, 1, 2, 3}, torch::kFloat64), torch::randint(small_classes, {7})});
  auto other = trace, moved = trace;
  other.target = (trace.target + 1).remainder(small_classes);
  moved.hidden[1] = trace.hidden[1] + 1;
  const auto state = ChannelGoodness{}.bind(model, context(torch::kFloat64));
  const auto credits = state.credit(model, trace), of_others = state.credit(model, other);
  const auto of_moved = state.credit(model, moved);

  for (std::size_t l = 0; l < 2; ++l) CHECK_FALSE(torch::equal(credits[l], of_others[l]));
  CHECK(torch::equal(credits[0], of_moved[0]));
  CHECK_FALSE(torch::equal(credits[1], of_moved[1]));
  {
    const torch::NoGradGuard no_grad;
    for (const auto& parameter : model->parameters()) torch::Tensor(parameter).variable_data().normal_();
  }
  const auto blind = state.credit(model, trace);
  for (std::size_t l = 0; l < 2; ++l) CHECK(torch::equal(credits[l], blind[l]));
}

TEST_CASE("ChannelGoodness refuses what it has no groups or no labels for", "[credit][channel_goodness]") {
  CHECK(says(error_of([] { LocalTrainer(stages(Kind::plain), ChannelGoodness{}); }),
             {"ChannelGoodness: h_3 has 3 features, fewer than the 4 classes, so that there is no group for each."}));
  auto model = map_and_vector();
  const std::string no_labels = "ChannelGoodness needs a class label for each sample, int64, which the trainer's";
  CHECK(says(error_of([&] { LocalTrainer(model, ChannelGoodness{}, {}, SquaredError{}); }), {no_labels}));
  CHECK(says(error_of([&] { LocalTrainer(model, ChannelGoodness{}, {}, BinaryCrossEntropy{}); }), {no_labels}));
  CHECK(says(error_of([&] { LocalTrainer(model, Mix{DFA{}, ChannelGoodness{}}, {}, SmoothL1{}, Blend{}); }),
             {no_labels}));
  LocalTrainer trainer(model, ChannelGoodness{});
  CHECK(says(error_of([&] {
               const auto soft = torch::full({7, 4}, 0.25, torch::kFloat64);
               trainer.step(torch::randn({7, 1, 2, 3}, torch::kFloat64), soft);
             }),
             {"ChannelGoodness needs a class label for each sample, int64, but the target is (7, 4) float64"}));
}
