// SPDX-License-Identifier: Apache-2.0
// Steps of one training in the processes that the environment names (RANK, WORLD_SIZE, ...), for bench/distributed.py: rank 0 prints their
// times, and what its network interface has sent meanwhile.

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/distributed/block_trainer.hpp>
#include <creditlib/distributed/from_environment.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <creditlib/runtime/denormals.hpp>
#include <creditlib/runtime/memory.hpp>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace {

using namespace creditlib;
using GroupPtr = std::shared_ptr<distributed::Group>;

constexpr std::int64_t inputs = 3072, classes = 10;

struct Settings {
  std::string rule = "dfa", parallel = "data", interface = "lo";
  std::int64_t width = 256, blocks = 4, batch = 256, micro_batches = 4, threads = 1, warm_up = 5, steps = 50;
};

/// What this process is given of a batch: its rows, in equal parts, or all if it has blocks of its own.
torch::Tensor part_of(const torch::Tensor& whole, const Settings& s, const distributed::Group& group) {
  if (s.parallel == "blocks") return whole;
  return whole.chunk(group.size())[static_cast<std::size_t>(group.rank())].contiguous();
}

std::int64_t bytes_sent(const std::string& interface) {
  std::ifstream file("/sys/class/net/" + interface + "/statistics/tx_bytes");
  std::int64_t bytes = 0;
  file >> bytes;
  return bytes;
}

template <class Trainer>
nlohmann::json timed(Trainer& trainer, const Settings& s, const GroupPtr& group) {
  std::vector<std::pair<torch::Tensor, torch::Tensor>> pool;
  for (int i = 0; i < 8; ++i) {
    const auto x = torch::randn({s.batch, inputs}), y = torch::randint(classes, {s.batch});
    pool.emplace_back(part_of(x, s, *group), part_of(y, s, *group));
  }
  std::vector<double> times;
  std::int64_t sent = 0;
  for (std::int64_t step = -s.warm_up; step < s.steps; ++step) {
    if (step == 0) sent = bytes_sent(s.interface);
    const auto& [x, y] = pool[static_cast<std::size_t>(step + s.warm_up) % pool.size()];
    const auto start = std::chrono::steady_clock::now();
    trainer.step(x, y);
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
    if (step >= 0) times.push_back(taken.count());
  }
  sent = bytes_sent(s.interface) - sent;
  return {{"ms", times}, {"bytes_per_step", sent / s.steps}};
}

nlohmann::json timed(const Settings& s, const GroupPtr& group) {
  torch::manual_seed(1);
  ResidualMLP model({.input = inputs, .width = s.width, .classes = classes, .blocks = s.blocks});
  const TrainerOptions options{.group = group};
  if (s.rule == "bp") {
    BackpropTrainer trainer(model, options);
    return timed(trainer, s, group);
  }
  if (s.parallel == "blocks") {
    distributed::BlockTrainer trainer(model, DFA{}, options, {.micro_batches = s.micro_batches});
    return timed(trainer, s, group);
  }
  LocalTrainer trainer(model, DFA{}, options);
  return timed(trainer, s, group);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times steps of the residual MLP on random images, in the processes that the environment names.",
               "distributed_step");
  Settings s;
  app.add_option("--rule", s.rule, "dfa or bp")->check(CLI::IsMember({"dfa", "bp"}));
  app.add_option("--parallel", s.parallel, "what the processes share out: data or, with dfa, blocks")
      ->check(CLI::IsMember({"data", "blocks"}));
  app.add_option("--micro-batches", s.micro_batches, "of blocks: how many parts a batch goes up in")
      ->check(CLI::PositiveNumber);
  app.add_option("--width", s.width, "d")->check(CLI::PositiveNumber);
  app.add_option("--blocks", s.blocks, "L")->check(CLI::PositiveNumber);
  app.add_option("--batch", s.batch, "rows of all processes together")->check(CLI::PositiveNumber);
  app.add_option("--threads", s.threads, "LibTorch's threads, of each process")->check(CLI::PositiveNumber);
  app.add_option("--warm-up", s.warm_up, "steps before those that are timed")->check(CLI::NonNegativeNumber);
  app.add_option("--steps", s.steps, "steps that are timed")->check(CLI::PositiveNumber);
  app.add_option("--interface", s.interface, "the network interface whose bytes are counted");
  CLI11_PARSE(app, argc, argv);
  try {
    runtime::keep_freed_memory();
    runtime::flush_denormals();
    at::set_num_threads(static_cast<int>(s.threads));
    const auto group = distributed::from_environment();
    const auto result = timed(s, group);
    if (group->rank() == 0) std::cout << result << std::endl;
  } catch (const std::exception& error) {
    std::cerr << "distributed_step: " << error.what() << '\n';
    return 1;
  }
}
