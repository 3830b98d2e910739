// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/local_trainer.hpp>

#include "../models.hpp"
#include "../test.hpp"
#include "gradients.hpp"

using namespace creditlib;
using namespace creditlib::test;

TEST_CASE("clipping is per block, as clip_grad_norm_ does it, and not of embed or readout", "[trainer]") {
  auto model = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  LocalTrainer open(model, DFA{});
  open.step(batch.x, batch.y);
  std::vector<double> norms;
  for (std::int64_t l = 0; l < 3; ++l) norms.push_back(norm_of(gradients_of_parts(model->block_parameters(l))));
  auto sorted = norms;
  std::sort(sorted.begin(), sorted.end());
  const double clip = (sorted[0] + sorted[1]) / 2;  // one block is below
  REQUIRE(norm_of(gradients_of_parts(model->embed_parameters())) > clip);

  auto clipped = small_model(torch::kFloat64), reference = small_model(torch::kFloat64);
  LocalTrainer trainer(clipped, DFA{}, {.clip_norm = clip});
  LocalTrainer unclipped(reference, DFA{});
  const auto shown = trainer.gradients(batch.x, batch.y);
  trainer.step(batch.x, batch.y);
  unclipped.step(batch.x, batch.y);
  for (std::int64_t l = 0; l < 3; ++l) torch::nn::utils::clip_grad_norm_(reference->block_parameters(l), clip);

  CHECK(same(shown, gradients_of(*clipped)));
  CHECK(distance(gradients_of(*clipped), gradients_of(*reference)) < 1e-13);
  for (std::int64_t l = 0; l < 3; ++l) {
    const double norm = norm_of(gradients_of_parts(clipped->block_parameters(l)));
    CHECK(norm == Approx(std::min(norms[static_cast<std::size_t>(l)], clip)).epsilon(1e-5));
  }
}

TEST_CASE("with ClipScope::All the gradients of all parameters are clipped together", "[trainer]") {
  auto clipped = small_model(torch::kFloat64), reference = small_model(torch::kFloat64);
  const auto batch = small_batch(torch::kFloat64);
  LocalTrainer unclipped(reference, DFA{});
  unclipped.step(batch.x, batch.y);
  const double clip = norm_of(gradients_of(*reference)) / 3;
  LocalTrainer trainer(clipped, DFA{}, {.clip_norm = clip, .clip_scope = ClipScope::All});

  trainer.step(batch.x, batch.y);

  torch::nn::utils::clip_grad_norm_(reference->parameters(), clip);
  CHECK(distance(gradients_of(*clipped), gradients_of(*reference)) < 1e-13);
  CHECK(norm_of(gradients_of(*clipped)) == Approx(clip).epsilon(1e-5));
}

TEST_CASE("with clip_scope All one factor scales every parameter's gradient", "[trainer]") {
  const auto batch = small_batch(torch::kFloat64);
  const double most = 0.01;
  const auto gradients = [&](const TrainerOptions& options) {
    return LocalTrainer(small_model(torch::kFloat64), DFA{}, options).gradients(batch.x, batch.y);
  };
  const auto whole = gradients({.seed = 7});
  double squares = 0;
  for (const auto& g : whole) squares += g.square().sum().item<double>();
  const double factor = most / (std::sqrt(squares) + 1e-6);

  const auto clipped = gradients({.clip_norm = most, .seed = 7, .clip_scope = ClipScope::All});
  const auto far = gradients({.clip_norm = 1e6, .seed = 7, .clip_scope = ClipScope::All});
  const auto per_block = gradients({.clip_norm = most, .seed = 7});

  REQUIRE(factor < 0.1);
  for (std::size_t i = 0; i < whole.size(); ++i) CHECK(distance(clipped[i], whole[i] * factor) < 1e-12);
  CHECK(same(far, whole));
  CHECK(torch::equal(per_block[0], whole[0]));  // the embed's
  CHECK(distance(per_block, clipped) > 0.1);
}
