// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/equilibrium_propagation.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/credit/vec.hpp>
#include <creditlib/diagnostics/gradients.hpp>
#include <creditlib/diagnostics/loss_from.hpp>
#include <creditlib/diagnostics/norms.hpp>
#include <creditlib/diagnostics/nudging.hpp>
#include <creditlib/diagnostics/parameter_gradients.hpp>
#include <creditlib/diagnostics/trial_step.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/model/transformer_lm.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/objective/squared_error.hpp>

#include "../models.hpp"
#include "../position_nets.hpp"
#include "../test.hpp"

// Networks whose logits have positions: tokens, (B, N, C), pixels, (B, C, H, W), and voxels, (B, C, D, H, W).

using namespace creditlib;
using namespace creditlib::test;
using torch::nn::Conv2d;
using torch::nn::Conv2dOptions;
using torch::nn::GELU;
using torch::nn::Linear;
using torch::nn::Sequential;

namespace {

/// Volumes (B, 2, D, H, W) to logits of the same size, (B, 4, D, H, W).
SequentialBlocks voxel_net() {
  using torch::nn::Conv3d;
  const auto conv = [](int in, int out) { return Conv3d(torch::nn::Conv3dOptions(in, out, 3).padding(1)); };
  SequentialBlocks model({.embed = Sequential(conv(2, 3)),
                          .blocks = {Sequential(conv(3, 5), GELU())},
                          .readout = Sequential(conv(5, 4)),
                          .example = torch::zeros({1, 2, 2, 3, 4})});
  model->to(torch::kFloat64);
  return model;
}

Batch voxel_batch() {
  auto y = torch::randint(4, {7, 2, 3, 4});
  y[3][1][2][0] = -100;
  return {torch::randn({7, 2, 2, 3, 4}, torch::kFloat64), y};
}

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
  check_exact(voxel_net(), voxel_batch());
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

  CHECK(
      says(error_of([] { LocalTrainer(token_net(true), Vec{}, {}); }), {"(-1, 6)", "differs between batches", "DFA"}));
}

TEST_CASE("a batch of another size is refused by every trainer and diagnostic, with the cure", "[positions]") {
  torch::manual_seed(10);
  const std::string cure = ".any_positions = true";
  const auto each = [&](auto model, const Batch& batch, const std::vector<std::string>& parts) {
    const auto refused = [&](const auto& action) {
      const auto said = error_of(action);
      for (const auto& part : parts) CHECK(says(said, {part}));
    };
    const auto& [x, y] = batch;
    refused([&] { LocalTrainer(model, DFA{}, {}).step(x, y); });
    refused([&] { LocalTrainer(model, DFA{}, {}).credits(x, y); });
    refused([&] { BackpropTrainer(model, {}).step(x, y); });
    refused([&] { BackpropTrainer(model, {}).gradients(x, y); });
  };
  each(token_net(), token_batch(5), {"the target is (7, 5)", "logits of (3, 4) per sample", cure});
  each(pixel_net(), pixel_batch(6, 7), {"the target is (7, 6, 7)", "logits of (4, 4, 5) per sample", cure});

  // Logits without positions: the target is as always, and a network whose readout pools would run.
  using torch::nn::AdaptiveAvgPool2d, torch::nn::Flatten;
  const auto pooling = [](bool any_positions) {
    return SequentialBlocks({.blocks = {Sequential(Conv2d(Conv2dOptions(2, 3, 3).padding(1)), GELU())},
                             .readout = Sequential(AdaptiveAvgPool2d(1), Flatten(), Linear(3, 4)),
                             .example = torch::zeros({1, 2, 4, 5}),
                             .any_positions = any_positions});
  };
  const Batch larger{torch::randn({7, 2, 6, 7}), torch::randint(4, {7})};
  each(pooling(false), larger, {"The model's h_0 is (7, 2, 6, 7), expected (7, 2, 4, 5)", cure});
  auto fixed = pooling(false);
  CHECK(says(error_of([&] { diagnostics::true_gradients(fixed, larger.x, larger.y); }), {"h_0 is (7, 2, 6, 7)", cure}));
  CHECK(says(error_of([&] { diagnostics::LossFrom(fixed, larger.x, larger.y); }), {"h_0 is (7, 2, 6, 7)", cure}));
  LocalTrainer(pooling(true), DFA{}, {}).step(larger.x, larger.y);
  BackpropTrainer(pooling(true), {}).step(larger.x, larger.y);

  // A target that is wrong for another reason does not blame the batch.
  auto right = token_net();
  const auto ids = token_batch().x;
  for (const auto& target :
       {torch::randint(4, {7}), torch::randint(4, {7, 3}, torch::kInt32), torch::full({7, 3}, 9)}) {
    const auto said = error_of([&] { LocalTrainer(right, DFA{}, {}).step(ids, target); });
    CHECK(says(said, {"CrossEntropy: "}));
    CHECK(said.find(cure) == std::string::npos);
  }
}

TEST_CASE("the expected target of a batch of any length is named", "[positions]") {
  TransformerLM model({.vocabulary = 9, .context = 8, .width = 4, .heads = 2, .blocks = 1});
  const auto ids = torch::randint(9, {7, 5});
  for (const auto& target : {torch::randint(9, {7}), torch::randint(9, {7, 5}, torch::kInt32), torch::zeros({7, 5})}) {
    CHECK(says(error_of([&] { LocalTrainer(model, DFA{}, {}).step(ids, target); }), {"expected (7, 5) int64"}));
  }
  auto pixels = pixel_net(true);
  CHECK(says(error_of([&] { LocalTrainer(pixels, DFA{}, {}).step(pixel_batch(6, 7).x, torch::randint(4, {7})); }),
             {"expected (7, 6, 7) int64"}));
}

TEST_CASE("diagnostics refuse targets in the objective's words", "[positions]") {
  auto model = token_net();
  const auto ids = token_batch().x;
  const auto refused = [&](const auto& action) {
    for (const auto& [target, part] : std::vector<std::pair<torch::Tensor, std::string>>{
             {torch::full({7, 3}, 12), "CrossEntropy: a label is 12, expected 0..3"},
             {torch::full({7, 3}, 255), "CrossEntropy{.ignore_index = 255}"},
             {torch::zeros({7}, torch::kInt64), "CrossEntropy: the target is (7) int64"}}) {
      CHECK(says(error_of([&, &y = target] { action(y); }), {part}));
    }
  };
  refused([&](const torch::Tensor& y) { diagnostics::true_gradients(model, ids, y); });
  refused([&](const torch::Tensor& y) { diagnostics::parameter_gradients(model, ids, y); });
  refused([&](const torch::Tensor& y) { diagnostics::mean_loss(model, ids, y); });
  refused([&](const torch::Tensor& y) { diagnostics::LossFrom(model, ids, y); });
  refused([&](const torch::Tensor& y) { LocalTrainer(model, DFA{}, {}).step(ids, y); });
}

TEST_CASE("token ids that block 0 reads stay as they are, and what they do not have is said", "[positions]") {
  torch::manual_seed(11);
  SequentialBlocks model({.blocks = {Sequential(torch::nn::Embedding(9, 6)), Sequential(Linear(6, 5), GELU())},
                          .readout = Sequential(Linear(5, 4)),
                          .example = torch::zeros({1, 3}, torch::kInt64)});
  model->to(torch::kFloat64);
  const auto [x, y] = token_batch();
  for (const bool centered : {false, true}) {
    LocalTrainer trainer(model, EquilibriumPropagation{.beta = 1e-4, .steps = 400, .rate = 0.2, .centered = centered});
    const auto credits = trainer.credits(x, y), exact = BackpropTrainer(model, {}).credits(x, y);
    CHECK_FALSE(credits[0].defined());
    for (const std::size_t l : {1U, 2U}) CHECK(distance(credits[l], exact[l]) < 1e-3 * exact[l].norm().item<double>());
    trainer.step(x, y);
    CHECK(trainer.state().relative_nudge[0].item<double>() == 0);
    CHECK(trainer.state().relative_nudge[1].item<double>() > 0);
  }

  const auto credits = LocalTrainer(model, DFA{}, {}).raw_credits(x, y);
  const auto nudges = diagnostics::nudging(model, x, y, credits);
  REQUIRE(nudges.size() == 3);
  REQUIRE(nudges[0].size() == 2);
  CHECK_FALSE(nudges[0][0].change.value);
  CHECK(says(nudges[0][0].backprop.reason, {"whole numbers, such as token ids"}));
  CHECK(*nudges[1][0].backprop.value < 0);
  const auto norms = diagnostics::median_norms(diagnostics::hidden_states(model, x));
  CHECK_FALSE(norms[0].value);
  CHECK(says(norms[0].reason, {"whole numbers, such as token ids"}));
  CHECK(*norms[1].value > 0);
  const diagnostics::LossFrom loss_from(model, x, y);
  CHECK(says(error_of([&] { loss_from.gradient(0, x); }), {"LossFrom: h_0 is (7, 3) int64", "no gradient"}));
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
  for (const auto l : {std::size_t{1}, std::size_t{2}}) CHECK(distance(credits[l], exact[l]) < 1e-12);
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
