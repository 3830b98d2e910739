// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/clip/by_all.hpp>
#include <creditlib/clip/by_block.hpp>
#include <creditlib/clip/by_value.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;

namespace {

/// The gradients of a step of DFA under these options and policies.
template <class... Policies>
std::vector<torch::Tensor> gradients(const TrainerOptions& options, const Policies&... policies) {
  auto model = small_model();
  const auto batch = small_batch();
  if constexpr (sizeof...(Policies) == 0) {
    LocalTrainer trainer(model, DFA{}, options);
    trainer.step(batch.x, batch.y);
  } else {
    LocalTrainer trainer(model, DFA{}, options, policies...);
    const auto shown = copies(trainer.gradients(batch.x, batch.y));
    trainer.step(batch.x, batch.y);
    CHECK(same(gradients_of(*model), shown));
  }
  return gradients_of(*model);
}

}  // namespace

TEST_CASE("the options' clip_norm is shorthand for a policy", "[clip]") {
  CHECK(same(gradients({.clip_norm = 0.01}), gradients({}, clip::ByBlock{.norm = 0.01})));
  CHECK(same(gradients({.clip_norm = 0.01, .clip_scope = ClipScope::All}), gradients({}, clip::ByAll{.norm = 0.01})));
  CHECK_FALSE(same(gradients({}, clip::ByBlock{.norm = 0.01}), gradients({}, clip::ByAll{.norm = 0.01})));
  CHECK_FALSE(same(gradients({}, clip::ByBlock{.norm = 0.01}), gradients({})));
}

TEST_CASE("clip::ByValue clamps every number, as clip_grad_value_ does", "[clip]") {
  auto expected = gradients({});
  double largest = 0;
  for (auto& gradient : expected) {
    largest = std::max(largest, gradient.abs().max().item<double>());
    gradient = gradient.clamp(-0.01, 0.01);
  }
  REQUIRE(largest > 0.02);

  CHECK(same(gradients({}, clip::ByValue{.value = 0.01}), expected));
}

TEST_CASE("a clip of one's own sees every gradient and its part, and may replace it", "[clip]") {
  const auto plain = gradients({});
  const auto changed = gradients({}, [](std::vector<torch::Tensor>& all, const ParameterParts& parts) {
    for (const auto i : parts.readout) all[i] = torch::zeros_like(all[i]);
    CHECK(parts.names[parts.embed[0]] == "embed.weight");
    CHECK(parts.blocks.size() == 3);
  });

  const auto names = small_model()->named_parameters();
  for (std::size_t i = 0; i < plain.size(); ++i) {
    const bool readout = names[i].key().rfind("out_", 0) == 0;
    CHECK(torch::equal(changed[i], readout ? torch::zeros_like(plain[i]) : plain[i]));
  }
}

TEST_CASE("norms before and after clipping are kept if they are tracked", "[clip]") {
  auto model = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  LocalTrainer trainer(model, DFA{}, {}, clip::ByBlock{.norm = 0.25});
  const auto plain = [&] {
    auto other = small_model(torch::kFloat64);
    return copies(LocalTrainer(other, DFA{}).gradients(batch.x, batch.y));
  }();
  CHECK(says(error_of([&] { trainer.norms(); }), {"norms: there are none", "track_norms()"}));

  trainer.track_norms();
  trainer.step(batch.x, batch.y);

  const auto expected = [&](const std::vector<torch::Tensor>& of) {
    const auto named = model->named_parameters();
    std::vector<double> squares(5);
    for (std::size_t i = 0; i < of.size(); ++i) {
      const auto& key = named[i].key();
      const std::size_t part = key.rfind("embed", 0) == 0  ? 0
                               : key.rfind("out_", 0) == 0 ? 4
                                                           : static_cast<std::size_t>(1 + key.at(7) - '0');
      squares[part] += of[i].square().sum().item<double>();
    }
    return torch::tensor(squares, torch::kFloat64).sqrt();
  };
  const auto [unscaled, scaled] = trainer.norms();
  CHECK(distance(unscaled, expected(plain)) < 1e-12);
  CHECK(distance(scaled, expected(gradients_of(*model))) < 1e-12);
  for (std::int64_t l = 1; l <= 3; ++l) {
    CHECK(unscaled[l].item<double>() > 0.25);
    CHECK(scaled[l].item<double>() == Approx(0.25).epsilon(1e-5));
  }
  CHECK(torch::equal(unscaled[0], scaled[0]));
  trainer.track_norms(false);
  CHECK_THROWS_AS(trainer.norms(), Error);
}
