// A training step of each rule on the residual MLP: items (images) a second and peak memory.
//
//   steps [--benchmark_...]      Google Benchmark; one thread
//   steps --serve --rule dfa --width 256 --blocks 4 --batch 128 --threads 1
//                                for compare_pytorch.py: reads "N\n", runs N steps, answers with their times in ms; "q\n" ends it

#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace {

constexpr std::int64_t input = 3072, classes = 10;

struct Size {
  std::int64_t width = 256, blocks = 4, batch = 128;
};

using Batches = std::vector<std::pair<torch::Tensor, torch::Tensor>>;

/// Steps of a trainer on batches that go round.
template <class Trainer>
std::function<void()> steps_of(Trainer trainer, Batches batches) {
  auto held = std::make_shared<Trainer>(std::move(trainer));
  std::size_t next = 0;
  return [held, batches = std::move(batches), next]() mutable {
    const auto& [x, y] = batches[next++ % batches.size()];
    benchmark::DoNotOptimize(held->step(x, y).loss.data_ptr());
  };
}

std::function<void()> step_of(const std::string& rule, const Size& size) {
  torch::manual_seed(1);
  creditlib::ResidualMLP model({.input = input, .width = size.width, .classes = classes, .blocks = size.blocks});
  Batches batches;
  for (int i = 0; i < 8; ++i) batches.emplace_back(torch::randn({size.batch, input}), torch::randint(classes, {size.batch}));
  if (rule == "bp") return steps_of(creditlib::BackpropTrainer(model), std::move(batches));
  if (rule == "fa") return steps_of(creditlib::LocalTrainer(model, creditlib::FA{}), std::move(batches));
  if (rule == "dfa") return steps_of(creditlib::LocalTrainer(model, creditlib::DFA{}), std::move(batches));
  throw creditlib::Error("There is no rule " + rule + ", expected bp, fa or dfa.");
}

/// The peak of the process's resident memory since the last call of reset_peak_memory, in bytes (Linux; 0 elsewhere).
double peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return 1024 * std::stod(line.substr(6));
  }
  return 0;
}
void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

void run_steps(benchmark::State& state, const std::string& rule, const Size& size) {
  const auto step = step_of(rule, size);
  for (int i = 0; i < 3; ++i) step();
  reset_peak_memory();
  for (auto _ : state) step();
  state.SetItemsProcessed(state.iterations() * size.batch);
  state.counters["peak_bytes"] = peak_memory();
}

int serve(const std::map<std::string, std::string>& flags) {
  const auto number = [&](const char* name) { return std::stoll(flags.at(name)); };
  at::set_num_threads(static_cast<int>(number("--threads")));
  const auto step = step_of(flags.at("--rule"), {number("--width"), number("--blocks"), number("--batch")});
  for (std::string line; std::getline(std::cin, line) && line != "q";) {
    std::string times;
    for (long left = std::stol(line); left > 0; --left) {
      const auto start = std::chrono::steady_clock::now();
      step();
      const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
      times += (times.empty() ? "" : " ") + std::to_string(spent.count());
    }
    std::cout << times << std::endl;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "--serve") {
    std::map<std::string, std::string> flags;
    for (int i = 2; i + 1 < argc; i += 2) flags[argv[i]] = argv[i + 1];
    try {
      return serve(flags);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "steps --serve: %s; expected --rule, --width, --blocks, --batch and --threads, each with a value.\n", error.what());
      return 2;
    }
  }
  at::set_num_threads(1);
  for (const std::string rule : {"bp", "fa", "dfa"}) {
    for (const Size& size : {Size{256, 4, 128}, Size{512, 2, 128}}) {
      const auto name = rule + "/resmlp_d" + std::to_string(size.width) + "_L" + std::to_string(size.blocks) + "/generic/float32";
      benchmark::RegisterBenchmark(name.c_str(), [rule, size](benchmark::State& state) { run_steps(state, rule, size); })
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
