// SPDX-License-Identifier: Apache-2.0
#include <creditlib/local_trainer.hpp>
#include <creditlib/normalizer/raw.hpp>

#include "../models.hpp"
#include "../sources.hpp"
#include "../test.hpp"
#include "gradients.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// Trains at twice the hidden states.
struct AtTwiceTheStates {
  std::vector<torch::Tensor> given;
  std::vector<torch::Tensor> credit(auto&, const Trace&) const { return given; }
  std::vector<torch::Tensor> local_inputs(auto&, const Trace& trace) const {
    std::vector<torch::Tensor> states;
    for (const auto& h : trace.hidden) states.push_back(2 * h);
    return states;
  }
};
struct AtWrongStates {
  std::vector<torch::Tensor> states;
  std::vector<torch::Tensor> credit(auto&, const Trace& trace) const { return trace.hidden; }
  std::vector<torch::Tensor> local_inputs(auto&, const Trace&) const { return states; }
};

}  // namespace

TEST_CASE("local_inputs run blocks and readout again at other states, and statistics only once", "[trainer]") {
  for (const auto kind : {Kind::plain, Kind::batch_norm, Kind::no_embed}) {
    INFO("on " << name(kind));
    auto model = stages(kind, torch::kFloat64), again = stages(kind, torch::kFloat64),
         once = stages(kind, torch::kFloat64);
    const auto batch = batch_for(kind, torch::kFloat64);
    const auto credits = arbitrary_credits(stages(kind, torch::kFloat64), batch);
    LocalTrainer trainer(model, AtTwiceTheStates{credits}, {}, {}, Raw{});
    const double loss_before = torch::nn::functional::cross_entropy(once->forward(batch.x), batch.y).item<double>();

    const auto shown = trainer.gradients(batch.x, batch.y);
    const auto result = trainer.step(batch.x, batch.y);

    std::vector<torch::Tensor> expected;
    const auto append = [&](const torch::Tensor& output, const std::vector<torch::Tensor>& parameters,
                            const torch::Tensor& along) {
      const auto gradients = torch::autograd::grad({output}, parameters, {along}, false, false, true);
      expected.insert(expected.end(), gradients.begin(), gradients.end());
    };
    const auto embedded = again->embed(batch.x);
    if (embedded.requires_grad()) append(embedded, again->embed_parameters(), credits[0] / 7);
    auto h = embedded.detach();
    for (std::int64_t l = 0; l < again->blocks(); ++l) {
      append(again->block(l, 2 * h), again->block_parameters(l), credits[static_cast<std::size_t>(l) + 1] / 7);
      h = again->join(l, h, again->block(l, h)).detach();
    }
    const auto logits = again->readout(2 * h);
    append(logits, again->readout_parameters(), plain_error(logits, batch.y) / 7);
    CHECK(distance(gradients_of(*model), expected) < 1e-12);
    CHECK(same(gradients_of(*model), shown));
    CHECK(same(copies(model->buffers()), copies(once->buffers())));
    CHECK(result.loss.item<double>() == Approx(loss_before));
  }
}

TEST_CASE("local_inputs that do not fit are refused", "[trainer]") {
  auto model = stages(Kind::plain);
  const auto batch = batch_for(Kind::plain);
  const auto message = [&](std::vector<torch::Tensor> states) {
    LocalTrainer trainer(model, AtWrongStates{states});
    return error_of([&] { trainer.step(batch.x, batch.y); });
  };
  const auto zeros = [](std::int64_t d) { return torch::zeros({7, d}); };

  CHECK(message({zeros(5), zeros(5), zeros(8), zeros(3)}) == "(nothing was thrown)");
  CHECK(says(message({zeros(5)}), {"local_inputs gave 1 states, expected 4"}));
  CHECK(says(message({zeros(5), zeros(4), zeros(8), zeros(3)}), {"local_inputs", "h'_1", "(7, 4)", "expected (7, 5)"}));
  CHECK(says(message({zeros(5), zeros(5), torch::Tensor(), zeros(3)}), {"local_inputs", "h'_2", "undefined"}));
}
