// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/objective/squared_error.hpp>

#include "../models.hpp"
#include "../position_nets.hpp"
#include "../test.hpp"

// Networks whose logits have positions: tokens, (B, N, C), and pixels, (B, C, H, W).

using namespace creditlib;
using namespace creditlib::test;
using torch::nn::Conv2d;
using torch::nn::Conv2dOptions;
using torch::nn::GELU;
using torch::nn::Linear;
using torch::nn::Sequential;

namespace {

/// PyTorch's gradients of its own mean cross-entropy, and that loss.
std::pair<std::vector<torch::Tensor>, double> of_pytorch(SequentialBlocks& model, const Batch& batch) {
  const auto logits = model->forward(batch.x);
  const auto loss = at::cross_entropy_loss(logits.dim() == 3 ? logits.transpose(1, 2) : logits, batch.y);
  return {torch::autograd::grad({loss}, model->parameters()), loss.item<double>()};
}

void check_exact(SequentialBlocks model, const Batch& batch) {
  const auto [expected, loss] = of_pytorch(model, batch);
  BackpropTrainer backprop(model, {});
  LocalTrainer oracle(model, Oracle{}, {}, Raw{});
  CHECK(distance(backprop.gradients(batch.x, batch.y), expected) < 1e-12);
  CHECK(distance(oracle.gradients(batch.x, batch.y), expected) < 1e-12);
  CHECK(oracle.step(batch.x, batch.y).loss.item<double>() == Approx(loss));
}

}  // namespace

TEST_CASE("with logits per position, back-propagation and the oracle have PyTorch's gradients", "[positions]") {
  torch::manual_seed(1);
  check_exact(token_net(), token_batch());
  check_exact(pixel_net(), pixel_batch());
}

TEST_CASE("DFA's credit is that of each position where hidden states have the logits' positions", "[positions]") {
  torch::manual_seed(2);
  auto tokens = token_net();
  const auto words = token_batch();
  LocalTrainer by_token(tokens, DFA{}, {}, Raw{});
  const auto& B = by_token.state().feedback;
  const auto e = CrossEntropy{}.error(tokens->forward(words.x), words.y).detach();
  CHECK(torch::allclose(by_token.credits(words.x, words.y)[2], e.matmul(B[2].t()), 1e-10, 1e-12));

  auto pixels = pixel_net();
  const auto images = pixel_batch();
  LocalTrainer by_pixel(pixels, DFA{}, {}, Raw{});
  const auto error = CrossEntropy{}.error(pixels->forward(images.x), images.y).detach();
  const auto expected = torch::einsum("bchw,dc->bdhw", {error, by_pixel.state().feedback[1]});
  CHECK(torch::allclose(by_pixel.credits(images.x, images.y)[1], expected, 1e-10, 1e-12));

  // A position that does not count has no credit.
  CHECK(by_token.credits(words.x, words.y)[1][2][1].abs().max().item<double>() == 0);
}

TEST_CASE("where positions differ, the error is summed over its positions", "[positions]") {
  torch::manual_seed(3);
  SequentialBlocks strided(
      {.blocks = {Sequential(Conv2d(Conv2dOptions(2, 3, 3).padding(1).stride(2)), GELU())},
       .readout = Sequential(torch::nn::ConvTranspose2d(torch::nn::ConvTranspose2dOptions(3, 4, 2).stride(2))),
       .example = torch::zeros({1, 2, 4, 6})});
  strided->to(torch::kFloat64);
  const auto batch = pixel_batch(4, 6);
  LocalTrainer trainer(strided, DFA{}, {}, Raw{});
  const auto error = CrossEntropy{}.error(strided->forward(batch.x), batch.y).detach();
  const auto expected = error.sum({2, 3}).mm(trainer.state().feedback[1].t()).view({7, 3, 1, 1});
  CHECK(torch::allclose(trainer.credits(batch.x, batch.y)[1], expected, 1e-10, 1e-12));
}

TEST_CASE("FA's matrices act on each position's credit", "[positions]") {
  torch::manual_seed(4);
  auto model = token_net();
  const auto batch = token_batch();
  LocalTrainer trainer(model, FA{}, {}, Raw{});
  const auto credits = trainer.credits(batch.x, batch.y);
  const auto& B = trainer.state().feedback;
  CHECK(torch::allclose(credits[1], credits[2].matmul(B[1]), 1e-10, 1e-12));
  CHECK(torch::allclose(credits[0], credits[1].matmul(B[0]), 1e-10, 1e-12));

  auto pixels = pixel_net();
  const auto images = pixel_batch();
  LocalTrainer by_pixel(pixels, FA{}, {}, Raw{});
  const auto a = by_pixel.credits(images.x, images.y);
  CHECK(torch::allclose(a[1], torch::einsum("behw,ed->bdhw", {a[2], by_pixel.state().feedback[1]}), 1e-10, 1e-12));
}

TEST_CASE("rules that learn their credit train networks with logits per position", "[positions]") {
  torch::manual_seed(5);
  auto model = token_net();
  const auto batch = token_batch();
  LocalTrainer trainer(model, Vec{}, {});
  for (int i = 0; i < 2; ++i) CHECK(std::isfinite(trainer.step(batch.x, batch.y).loss.item<double>()));
  CHECK(trainer.credits(batch.x, batch.y)[1].sizes() == torch::IntArrayRef({7, 3, 6}));
}

TEST_CASE("DFA learns a target per token", "[positions]") {
  torch::manual_seed(6);
  auto model = token_net();
  const auto x = torch::randint(9, {64, 3});
  const auto y = x.remainder(4);
  LocalTrainer trainer(model, DFA{}, {.lr = 0.01, .rate = Rate::Constant});
  for (int i = 0; i < 150; ++i) trainer.step(x, y);
  const auto result = trainer.step(x, y);
  CHECK(result.correct.item<std::int64_t>() > 180);  // of 192 tokens
}

TEST_CASE("the number of positions may differ between batches if the model says so", "[positions]") {
  torch::manual_seed(7);
  LocalTrainer tokens(token_net(true), DFA{}, {});
  CHECK(tokens.model()->hidden_shape(1) == std::vector<std::int64_t>{-1, 6});
  for (const std::int64_t positions : {3, 5, 1}) {
    const auto batch = token_batch(std::max<std::int64_t>(positions, 2)).x.slice(1, 0, positions);
    tokens.step(batch, torch::randint(4, {7, positions}));
  }
  LocalTrainer pixels(pixel_net(true), FA{}, {});
  for (const std::int64_t size : {4, 8}) {
    const auto batch = pixel_batch(size, size + 1);
    pixels.step(batch.x, batch.y);
  }
  check_exact(pixel_net(true), pixel_batch(6, 7));

  // One target per sample is not broadcast to all of its positions.
  const auto one = torch::randint(4, {7, 1});
  const std::string expected = "expected (7, 3) int64";
  CHECK(says(error_of([&] { tokens.step(torch::randint(9, {7, 3}), one); }), {expected}));
  auto any = token_net(true);
  const auto ids = torch::randint(9, {7, 3});
  CHECK(says(error_of([&] { BackpropTrainer(any, {}).step(ids, one); }), {expected}));
  CHECK(says(error_of([&] { BackpropTrainer(any, {}).credits(ids, one); }), {expected}));
  CHECK(says(error_of([&] { diagnostics::true_gradients(any, ids, one); }), {expected}));

  LocalTrainer fixed(token_net(), DFA{}, {});
  const auto longer = token_batch(5);
  CHECK(error_of([&] { fixed.step(longer.x, longer.y); }).find("expected") != std::string::npos);
  CHECK(
      says(error_of([] { LocalTrainer(token_net(true), Vec{}, {}); }), {"(-1, 6)", "differs between batches", "DFA"}));
}

TEST_CASE("block 0 may read token ids without an embed", "[positions]") {
  torch::manual_seed(9);
  SequentialBlocks model({.blocks = {Sequential(torch::nn::Embedding(9, 6)), Sequential(Linear(6, 5), GELU())},
                          .readout = Sequential(Linear(5, 4)),
                          .example = torch::zeros({1, 3}, torch::kInt64)});
  model->to(torch::kFloat64);
  const auto batch = token_batch();
  check_exact(model, batch);
  LocalTrainer oracle(model, Oracle{}, {}, Raw{});
  const auto exact = BackpropTrainer(model, {}).credits(batch.x, batch.y), credits = oracle.credits(batch.x, batch.y);
  CHECK_FALSE(credits[0].defined());
  for (std::size_t l : {1, 2}) CHECK(distance(credits[l], exact[l]) < 1e-12);
  CHECK(diagnostics::true_gradients(model, batch.x, batch.y)[1].sizes() == torch::IntArrayRef({7, 3, 6}));
}

TEST_CASE("a model with one output learns a regression", "[positions]") {
  torch::manual_seed(8);
  auto model = ResidualMLP({.input = 3, .width = 16, .classes = 1, .blocks = 2});
  LocalTrainer trainer(model, DFA{}, {.lr = 0.005, .rate = Rate::Constant}, SquaredError{});
  const auto x = torch::randn({128, 3}), y = x.sum(1, true);
  const auto first = trainer.step(x, y).loss.item<double>();
  for (int i = 0; i < 300; ++i) trainer.step(x, y);
  CHECK(trainer.step(x, y).loss.item<double>() < first / 5);
  CHECK(says(error_of([&] { LocalTrainer(model, DFA{}, {}).step(x, torch::zeros({128}, torch::kInt64)); }),
             {"one output", "SquaredError"}));
}
