// SPDX-License-Identifier: Apache-2.0
// A LibTorch training program before and after it trains with local credit: bring_your_own/before.cpp and after.cpp.
// They are functions here, so that flags stay out of what they show.

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "bring_your_own/train.hpp"
#include "support/program.hpp"

int main(int argc, char** argv) {
  CLI::App app("Trains a LibTorch program's network by back-propagation, and in the same loop with DFA, on the digits.",
               "bring_your_own");
  std::int64_t epochs = 10, seed = 42, threads = 1;
  app.add_option("--epochs", epochs, "epochs of each")->check(support::whole(1))->capture_default_str();
  app.add_option("--seed", seed, "of weights and batches")->check(support::whole(0))->capture_default_str();
  app.add_option("--threads", threads, "LibTorch's threads")->check(support::whole(1))->capture_default_str();

  return support::run_program(app, argc, argv, [&] {
    at::set_num_threads(static_cast<int>(threads));
    const auto report = [](std::int64_t epoch, double loss, double accuracy) {
      fmt::print("epoch {:2}  training loss {:.4f}  test accuracy {:.4f}\n", epoch, loss, accuracy);
      if (support::interrupted()) throw support::Interrupted("nothing is kept, and the same command starts again");
    };
    fmt::print("before: back-propagation\n");
    bring_your_own::train_before(epochs, static_cast<std::uint64_t>(seed), report);
    fmt::print("after: direct feedback alignment\n");
    bring_your_own::train_after(epochs, static_cast<std::uint64_t>(seed), report);
  });
}
