// SPDX-License-Identifier: Apache-2.0
// The digits by DFA in one process or several: torchrun --no-python --nproc-per-node 2 ./run distributed
// With --blocks each process has blocks of its own instead of rows of its own. --distributed 2 starts them too.

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <creditlib/creditlib.hpp>

#include "support/program.hpp"

namespace {

template <class Trainer>
void train_epochs(Trainer& trainer, creditlib::data::Batches& batches, std::int64_t epochs) {
  for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
    for (const auto& [x, y] : batches) {
      trainer.step(x, y);
      if (support::interrupted()) throw support::Interrupted("nothing is kept, and the same command starts again");
    }
    trainer.end_epoch();
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Trains a residual network on the digits with DFA, in the processes that torchrun or --distributed starts.",
      "distributed");
  std::int64_t epochs = 20, threads = 1, micro_batches = 2;
  bool blocks = false;
  app.add_option("--epochs", epochs, "epochs")->check(support::whole(1))->capture_default_str();
  app.add_option("--threads", threads, "LibTorch's threads, of each process")
      ->check(support::whole(1))
      ->capture_default_str();
  app.add_flag("--blocks", blocks, "each process has blocks of its own (BlockTrainer) instead of rows of its own");
  app.add_option("--micro-batches", micro_batches, "with --blocks: parts in which a batch goes from process to process")
      ->check(support::whole(1))
      ->capture_default_str();

  const auto run = [&] {
    at::set_num_threads(static_cast<int>(threads));
    const auto group = support::group();  // what distributed::from_environment() gives
    const auto digits = creditlib::data::load("digits", CREDITLIB_DATA_DIR "/digits");
    creditlib::data::Batches test(digits.test, {.batch_size = 360, .shuffle = false});
    const auto [x, y] = *test.begin();
    const creditlib::PenalizedInnerProduct penalized{.lambda = 0.1};
    const creditlib::TrainerOptions options{.epochs = epochs, .group = group};
    torch::manual_seed(42);
    auto model = creditlib::ResidualMLP({.input = 64, .width = 128, .classes = 10, .blocks = 3});
    std::int64_t right = 0;
    if (blocks) {
      creditlib::data::Batches train(digits.train, {.batch_size = 32});  // the same on all ranks
      creditlib::distributed::BlockTrainer trainer(model, creditlib::DFA{}, options, {.micro_batches = micro_batches},
                                                   penalized);
      train_epochs(trainer, train, epochs);
      right = trainer.evaluate(x, y).correct.item<std::int64_t>();
    } else {
      creditlib::data::Batches train(digits.train, {.batch_size = 32, .group = group});  // 32 of all processes together
      creditlib::LocalTrainer trainer(model, creditlib::DFA{}, options, penalized);
      train_epochs(trainer, train, epochs);
      right = model->forward(x).argmax(1).eq(y).sum().item<std::int64_t>();
    }
    fmt::print("{} of 360 test images are right, trained in {} process{}\n", right, group->size(),
               group->size() == 1 ? "" : "es");
  };
  return support::run_program(app, argc, argv, run, support::Processes::Several);
}
