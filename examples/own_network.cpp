// SPDX-License-Identifier: Apache-2.0
// A network of one's own torch::nn::Sequential stages, convolutions and BatchNorm included, trained with DFA on the
// digits.

#include <fmt/format.h>

#include <creditlib/creditlib.hpp>

#include "support/program.hpp"

namespace nn = torch::nn;

int main(int argc, char** argv) {
  CLI::App app("Trains torch::nn::Sequential stages with direct feedback alignment on the digits.", "own_network");
  std::int64_t epochs = 10;
  app.add_option("--epochs", epochs, "epochs to train")->check(support::whole(1))->capture_default_str();

  const auto run = [&] {
    const auto convolution = [](std::int64_t in, std::int64_t out) {
      return nn::Conv2d(nn::Conv2dOptions(in, out, 3).padding(1));
    };
    torch::manual_seed(42);
    auto model = creditlib::SequentialBlocks({
        .blocks = {nn::Sequential(convolution(1, 16), nn::BatchNorm2d(16), nn::ReLU()),
                   nn::Sequential(convolution(16, 32), nn::BatchNorm2d(32), nn::ReLU(), nn::MaxPool2d(2)),
                   nn::Sequential(nn::Flatten(), nn::Linear(32 * 4 * 4, 64), nn::ReLU())},
        .readout = nn::Sequential(nn::Linear(64, 10)),
        .example = torch::zeros({1, 1, 8, 8}),
    });
    // support::group(): the processes that torchrun or --distributed has started, as distributed::from_environment() gives
    // them; each trains on rows of its own of every batch.
    creditlib::LocalTrainer trainer(model, creditlib::DFA{}, {.epochs = epochs, .group = support::group()});

    const auto digits = creditlib::data::load("digits", CREDITLIB_DATA_DIR "/digits");
    creditlib::data::Batches train(digits.train, {.batch_size = 32, .group = support::group()}),
        test(digits.test, {.batch_size = 360, .shuffle = false});
    for (std::int64_t epoch = 1; epoch <= epochs; ++epoch) {
      auto loss = torch::zeros({});
      for (const auto& [x, y] : train) {
        loss += trainer.step(x, y).loss;
        if (support::interrupted()) throw support::Interrupted("nothing is kept, and the same command starts again");
      }
      trainer.end_epoch();

      const torch::NoGradGuard no_grad;
      const creditlib::diagnostics::EvalMode eval(*model);
      const auto [x, y] = *test.begin();
      const auto right = model->forward(x).argmax(1).eq(y).to(torch::kFloat32).mean();
      fmt::print("epoch {:2}  training loss {:.4f}  test accuracy {:.4f}\n", epoch,
                 loss.item<double>() / static_cast<double>(train.batches_per_epoch()), right.item<double>());
    }
  };
  return support::run_program(app, argc, argv, run, support::Processes::Several);
}
