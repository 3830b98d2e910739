// SPDX-License-Identifier: Apache-2.0
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/credit/oracle.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/recurrent.hpp>
#include <creditlib/model/sequential_blocks.hpp>
#include <creditlib/normalizer/raw.hpp>
#include <creditlib/testing/laws.hpp>
#include <string>
#include <vector>

#include "../models.hpp"
#include "../test.hpp"

using namespace creditlib;
using namespace creditlib::test;
namespace nn = torch::nn;

namespace {

nn::LSTM lstm(std::int64_t input, std::int64_t hidden) {
  return nn::LSTM(nn::LSTMOptions(input, hidden).batch_first(true));
}
nn::GRU gru(std::int64_t input, std::int64_t hidden) {
  return nn::GRU(nn::GRUOptions(input, hidden).batch_first(true));
}
nn::RNN rnn(std::int64_t input, std::int64_t hidden) {
  return nn::RNN(nn::RNNOptions(input, hidden).batch_first(true));
}

/// Sequences (B, 5, 3) to (B, 4): recurrent layers of each kind, the last of which gives its last step.
SequentialBlocksOptions recurrent_stages() {
  return {
      .embed = nn::Linear(3, 6),
      .blocks = {Recurrent(lstm(6, 6)), nn::Sequential(nn::LayerNorm(nn::LayerNormOptions({6})), Recurrent(rnn(6, 5))),
                 Recurrent(gru(5, 7), RecurrentOutput::LastStep)},
      .readout = nn::Linear(7, small_classes),
      .example = torch::zeros({1, 5, 3})};
}

testing::ModelCase<SequentialBlocks> recurrent_case() {
  return {.name = "recurrent",
          .make = [] { return creditlib::detail::laws::lively(SequentialBlocks(recurrent_stages())); },
          .batch = creditlib::detail::laws::labeled({5, 3})};
}

/// Sequences of tokens; the target is the first token of each.
Batch first_token(std::int64_t samples) {
  const auto x = torch::randint(4, {samples, 6});
  return {x, x.select(1, 0).clone()};
}

}  // namespace

TEST_CASE("Recurrent gives what LibTorch's layer gives, at all steps or after the last", "[model][recurrent]") {
  torch::manual_seed(1);
  const auto x = torch::randn({4, 5, 3});
  const auto check = [&](auto layer) {
    const auto steps = std::get<0>(layer->forward(x));
    CHECK(torch::equal(Recurrent(layer)->forward(x), steps));
    CHECK(torch::equal(Recurrent(layer, RecurrentOutput::LastStep)->forward(x), steps.select(1, -1)));
  };
  check(lstm(3, 6));
  check(gru(3, 6));
  check(rnn(3, 6));
  check(nn::LSTM(nn::LSTMOptions(3, 6).batch_first(true).num_layers(2).proj_size(2)));
}

TEST_CASE("the last step of two directions is the end of each", "[model][recurrent]") {
  torch::manual_seed(2);
  const auto x = torch::randn({4, 5, 3});
  const auto layer = nn::GRU(nn::GRUOptions(3, 6).batch_first(true).num_layers(2).bidirectional(true));
  const auto steps = Recurrent(layer)->forward(x);
  CHECK(steps.sizes() == torch::IntArrayRef({4, 5, 12}));

  const auto last = Recurrent(layer, RecurrentOutput::LastStep)->forward(x);
  CHECK(torch::equal(last.narrow(1, 0, 6), steps.select(1, -1).narrow(1, 0, 6)));
  CHECK(torch::equal(last.narrow(1, 6, 6), steps.select(1, 0).narrow(1, 6, 6)));
}

TEST_CASE("recurrent stages have names, shapes and a layout", "[model][recurrent]") {
  SequentialBlocks model(recurrent_stages());

  CHECK(model->named_parameters().contains("blocks.0.lstm.weight_ih_l0"));
  CHECK(model->named_parameters().contains("blocks.1.1.rnn.bias_hh_l0"));
  CHECK(model->named_parameters().contains("blocks.2.gru.weight_hh_l0"));
  CHECK(model->hidden_shape(1) == std::vector<std::int64_t>{5, 6});
  CHECK(model->hidden_shape(3) == std::vector<std::int64_t>{7});
  CHECK(model->hidden_layout(1) == HiddenLayout::FeaturesLast);
  CHECK(c10::str(*model).find("creditlib::Recurrent(output=last step)") != std::string::npos);

  // DFA has a row per feature, not per step.
  LocalTrainer trainer(model, DFA{}, {});
  CHECK(trainer.path() == Path::Generic);
  CHECK(trainer.state().feedback[1].sizes() == torch::IntArrayRef({6, small_classes}));
  CHECK(trainer.credits(torch::randn({2, 5, 3}), torch::tensor({0, 1}))[1].sizes() == torch::IntArrayRef({2, 1, 6}));
}

TEST_CASE("through recurrent layers the oracle has the gradients of back-propagation", "[model][recurrent]") {
  auto model = recurrent_case().model(torch::kFloat64);
  const auto batch = recurrent_case().batch_of(torch::kFloat64);
  const auto loss = at::cross_entropy_loss(model->forward(batch.x), batch.y);
  const auto expected = torch::autograd::grad({loss}, model->parameters());

  CHECK(distance(LocalTrainer(model, Oracle{}, {}, Raw{}).gradients(batch.x, batch.y), expected) < 1e-12);
  CHECK(distance(BackpropTrainer(model, {}).gradients(batch.x, batch.y), expected) < 1e-12);
}

TEST_CASE("rules obey the laws on recurrent layers", "[model][recurrent][law]") {
  for (const auto& report :
       {testing::check_laws(DFA{}, {recurrent_case()}), testing::check_laws(FA{}, {recurrent_case()})}) {
    INFO(report.text());
    CHECK(report.ok());
  }
}

TEST_CASE("sequences may be of any length", "[model][recurrent]") {
  auto options = recurrent_stages();
  options.any_positions = true;
  SequentialBlocks model(options);
  LocalTrainer trainer(model, DFA{});
  for (const std::int64_t steps : {1, 3, 9})
    CHECK(std::isfinite(trainer.step(torch::randn({2, steps, 3}), torch::tensor({0, 1})).loss.item<double>()));
}

TEST_CASE("a clone of recurrent stages is one of its own", "[model][recurrent]") {
  auto model = recurrent_case().model(torch::kFloat64);
  auto copy = model->clone();
  const auto batch = recurrent_case().batch_of(torch::kFloat64);

  CHECK(copy->named_parameters().keys() == model->named_parameters().keys());
  CHECK(torch::equal(copy->forward(batch.x), model->forward(batch.x)));
  const auto before = copies(model->parameters());
  LocalTrainer(copy, DFA{}).step(batch.x, batch.y);
  CHECK(same(copies(model->parameters()), before));
  CHECK_FALSE(torch::equal(copy->forward(batch.x), model->forward(batch.x)));  // the forward pass sees the update
}

TEST_CASE("a module of one's own with a recurrent layer is cloned with its weights", "[model][recurrent]") {
  struct OwnImpl : nn::Cloneable<OwnImpl> {
    OwnImpl() { OwnImpl::reset(); }
    void reset() override { layer = register_module("layer", Recurrent(lstm(3, 6))); }
    Recurrent layer = nullptr;
  };
  OwnImpl own;
  const auto copy = std::dynamic_pointer_cast<OwnImpl>(own.clone());
  REQUIRE(copy);
  CHECK(same(copy->parameters(), own.parameters()));
  CHECK(copy->parameters()[0].data_ptr() != own.parameters()[0].data_ptr());
  const auto x = torch::randn({2, 5, 3});
  CHECK(torch::equal(copy->layer->forward(x), own.layer->forward(x)));
}

TEST_CASE("Recurrent refuses layers and inputs that it would read wrongly", "[model][recurrent]") {
  CHECK(says(error_of([] { Recurrent{nn::LSTM(3, 6)}; }),
             {"Recurrent: the lstm layer reads (steps, samples, features)", ".batch_first(true)"}));
  CHECK(says(error_of([] { Recurrent{nn::GRU(3, 6)}; }), {"the gru layer", ".batch_first(true)"}));
  CHECK(says(error_of([] { Recurrent{nn::RNN(3, 6)}; }), {"the rnn layer", ".batch_first(true)"}));
  CHECK(says(error_of([] { Recurrent{nn::GRU(nullptr)}; }), {"the gru layer is null"}));
  Recurrent layer(lstm(3, 6));
  CHECK(says(error_of([&] { layer->forward(torch::zeros({5, 3})); }),
             {"Recurrent: the input is (5, 3), expected (samples, steps, 3) for the lstm layer."}));
  CHECK(says(error_of([&] { layer->forward(torch::zeros({2, 5, 4})); }), {"the input is (2, 5, 4)"}));
}

TEST_CASE("DFA trains recurrent blocks to remember the first token", "[model][recurrent]") {
  torch::manual_seed(7);
  SequentialBlocks model({.embed = nn::Embedding(4, 8),
                          .blocks = {Recurrent(lstm(8, 24)), Recurrent(gru(24, 24), RecurrentOutput::LastStep)},
                          .readout = nn::Linear(24, 4),
                          .example = torch::zeros({1, 6}, torch::kInt64)});
  LocalTrainer trainer(model, DFA{}, {.lr = 1e-2, .epochs = 1});
  for (int i = 0; i < 200; ++i) {
    const auto [x, y] = first_token(32);
    trainer.step(x, y);
  }
  const auto [x, y] = first_token(256);
  CHECK(model->forward(x).argmax(1).eq(y).to(torch::kFloat64).mean().item<double>() > 0.9);
}

TEST_CASE("a recurrent layer among the layers of a Sequential is refused, and the adapter named",
          "[model][recurrent]") {
  const auto refused = [](const auto& change) {
    auto options = recurrent_stages();
    change(options);
    return error_of([&] { SequentialBlocks{options}; });
  };
  CHECK(says(refused([](auto& options) { options.blocks[0] = nn::Sequential(lstm(6, 6), nn::ReLU()); }),
             {"SequentialBlocks: block 0 has a torch::nn::LSTM", "creditlib::Recurrent(torch::nn::LSTM(...))"}));
  CHECK(says(refused([](auto& options) { options.blocks[1] = nn::Sequential(nn::Sequential(gru(6, 5))); }),
             {"block 1 has a torch::nn::GRU", "creditlib::Recurrent"}));
  CHECK(says(refused([](auto& options) { options.embed = nn::AnyModule(rnn(3, 6)); }),
             {".embed has a torch::nn::RNN", "creditlib::Recurrent"}));
  struct NetImpl : BlockModule<NetImpl> {
    NetImpl() { register_block(nn::Sequential(lstm(6, 6))); }
    torch::Tensor readout(const torch::Tensor& h) { return h; }
  };
  CHECK(says(error_of([] { NetImpl{}; }), {"Net: block 0 has a torch::nn::LSTM", "creditlib::Recurrent"}));
}
