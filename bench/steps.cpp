// SPDX-License-Identifier: Apache-2.0
// A training step of every rule: rule/model/path/precision.
//
//   steps [--all] [--device cuda] [--batch N] [--classes N] [--threads N] [--matmul mkl|onednn] [--benchmark_…]
//                     Google Benchmark; without --all the residual MLPs, and of the rules all but ep
//   steps --serve --rule dfa --model resmlp --width 256 --blocks 4 --path closed_form --precision float32 …
//                     takes turns with other processes (support/serve.hpp): "N" times N steps, "forward N" N forward
//                     passes, "memory" tells the bytes of memory_of(), "flop" what a step's products multiply and add
//   steps --verify FROM --output TO --rule dfa …
//                     trains on the weights, feedback and batches of a safetensors file (support/verify.hpp)

#include <benchmark/benchmark.h>
#include <torch/types.h>

#include <creditlib/error.hpp>
#include <exception>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "support/command_line.hpp"
#include "support/flop.hpp"
#include "support/memory.hpp"
#include "support/serve.hpp"
#include "support/settings.hpp"
#include "support/stepper.hpp"
#include "support/stopwatch.hpp"
#include "support/verify.hpp"

namespace {

using namespace bench;

bool failed = false;

/// Seconds of each phase, the mean of a few steps.
Seconds phases_of(StepLoop& loop, int steps = 3) {
  Seconds sum{};
  for (int i = 0; i < steps; ++i) {
    const auto seconds = loop.watched_step();
    for (std::size_t p = 0; p < sum.size(); ++p) sum[p] += seconds[p] / steps;
  }
  return sum;
}

/// share_<phase>: parts of a step's time, which add up to 1. diagnostics: the time of one alignment with the true
/// gradients at all hidden states, in steps.
void count_phases(benchmark::State& state, StepLoop& loop, torch::Device device) {
  const auto seconds = phases_of(loop);
  const double whole = std::accumulate(seconds.begin(), seconds.end(), 0.0);
  for (std::size_t p = 0; p < seconds.size(); ++p)
    state.counters[std::string("share_") + phase_names[p]] = seconds[p] / whole;
  Stopwatch watch(device);
  watch.start();
  loop.diagnose();
  state.counters["diagnostics"] = watch.stop() / whole;
}

void run_steps(benchmark::State& state, const Settings& settings) {
  try {
    const auto memory = memory_of(settings);
    const torch::Device device(settings.device);
    StepLoop loop(settings);
    loop.step();
    const double flop = product_flop([&] { loop.step(); });
    count_phases(state, loop, device);
    reset_peak_resident();
    // A device runs ahead of the host, so there an iteration is the mean of several steps.
    const int at_once = device.is_cpu() ? 1 : 20;
    Stopwatch watch(device);
    for (auto _ : state) {
      watch.start();
      for (int i = 0; i < at_once; ++i) loop.step();
      state.SetIterationTime(watch.stop() / at_once);
    }
    state.SetItemsProcessed(state.iterations() * settings.batch);
    state.counters["peak_bytes"] = peak_resident();
    state.counters["tensor_bytes"] = memory.peak;
    state.counters["activation_bytes"] = memory.activations;
    state.counters["gemm_flop"] = flop;
    if (settings.rule != "vec")  // which multiplies as much as the layer needs that it draws in each step
      state.counters["gemm_flop_rate"] = benchmark::Counter(flop, benchmark::Counter::kIsIterationInvariantRate);
  } catch (const std::exception& error) {
    failed = true;
    state.SkipWithError(error.what());
  }
}

std::vector<Settings> registered(const Settings& base, bool all) {
  std::vector<Settings> list;
  const auto add = [&](const std::string& rule, Settings s, const char* path, const char* precision = "float32") {
    s.rule = rule;
    s.path = path;
    s.precision = precision;
    list.push_back(std::move(s));
  };
  for (const auto& [width, blocks] : {std::pair{256, 4}, std::pair{512, 2}}) {
    auto s = base;
    s.model = "resmlp";
    s.width = width;
    s.blocks = blocks;
    for (const auto& rule : rules()) {
      if (rule == "ep" && !all) continue;
      if (rule != "dfa_dense") add(rule, s, "generic");  // there all credit is dense
      add(rule, s, "closed_form");
    }
    for (const char* rule : {"bp", "dfa", "fa"}) add(rule, s, "closed_form", "bf16");
    add("dfa", s, "constant_memory");
  }
  if (!all) return list;
  for (const auto& model : models()) {
    if (model == "resmlp") continue;
    auto s = base;
    s.model = model;
    for (const auto& rule : rules()) {
      if (rule != "dfa_dense") add(rule, s, "generic");
    }
  }
  return list;
}

int serve_steps(const Settings& settings) {
  StepLoop loop(settings);
  Stopwatch watch{torch::Device(settings.device)};
  const auto timed = [&](auto action) {
    return [&watch, action] {
      watch.start();
      action();
      return watch.stop();
    };
  };
  serve({{"step", timed([&] { loop.step(); })}, {"forward", timed([&] { loop.forward(); })}},
        {
            {"memory",
             [&] {
               const auto memory = memory_of(settings);
               return std::to_string(memory.peak) + " " + std::to_string(memory.activations);
             }},
            {"flop", [&] { return std::to_string(product_flop([&] { loop.step(); })); }},
        });
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return bench::run_program(argc, argv, [&](std::vector<std::string>& arguments) {
    const bool serves = take_switch(arguments, "--serve"), all = take_switch(arguments, "--all");
    const auto from = take_value(arguments, "--verify"), to = take_value(arguments, "--output");
    const auto settings = serves || from ? take_settings(arguments) : take_common_settings(arguments);
    settings.apply();
    if (serves || from) check_all_taken(arguments);
    if (serves) return serve_steps(settings);
    if (from) {
      if (!to) throw creditlib::Error("--verify needs --output");
      verify(settings, *from, *to);
      return 0;
    }
    for (const auto& s : registered(settings, all)) {
      benchmark::RegisterBenchmark(s.name().c_str(), [s](benchmark::State& state) { run_steps(state, s); })
          ->Unit(benchmark::kMillisecond)
          ->UseManualTime();
    }
    const int code = run_benchmarks(argv[0], arguments);
    return failed ? 1 : code;
  });
}
