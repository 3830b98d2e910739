// SPDX-License-Identifier: Apache-2.0
// What backward and end_step cost beside step, neither with an update: ResidualMLP, batches of 128, one thread.

#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include <creditlib/backprop_trainer.hpp>
#include <creditlib/credit/dfa.hpp>
#include <creditlib/credit/fa.hpp>
#include <creditlib/local_trainer.hpp>
#include <creditlib/model/residual_mlp.hpp>
#include <string>
#include <vector>

namespace {

using namespace creditlib;

struct NoUpdate {
  struct State {
    void step() {}
    void set_rate(double) {}
    NamedTensors named_tensors() const { return {}; }
  };
  State bind(const std::vector<TrainedParameter>&) const { return {}; }
};

enum class Loop { Step, BackwardAfterNone, BackwardAfterZero };

template <class Rule>
auto trainer_of(ResidualMLP model, const Rule& rule, Path path) {
  return LocalTrainer(model, rule, {.path = path}, NoUpdate{});
}
struct Backprop {};
auto trainer_of(ResidualMLP model, Backprop, Path path) { return BackpropTrainer(model, {.path = path}, NoUpdate{}); }

template <class Rule>
void own_loop(benchmark::State& state, const Rule& rule, Path path, Loop loop) {
  at::set_num_threads(1);
  torch::manual_seed(1);
  ResidualMLP model({.input = 3072, .width = 256, .classes = 10, .blocks = 4});
  auto trainer = trainer_of(model, rule, path);
  const auto x = torch::randn({128, 3072}), y = torch::randint(10, {128});
  for (auto _ : state) {
    if (loop == Loop::Step) {
      trainer.step(x, y);
      continue;
    }
    state.PauseTiming();
    model->zero_grad(/*set_to_none=*/loop == Loop::BackwardAfterNone);
    state.ResumeTiming();
    trainer.backward(x, y);
    trainer.end_step();
  }
}

template <class Rule>
void add(const std::string& name, const Rule& rule) {
  for (const auto path : {Path::ClosedForm, Path::Generic}) {
    for (const auto& [loop, what] : {std::pair{Loop::Step, "step"}, std::pair{Loop::BackwardAfterNone, "backward"},
                                     std::pair{Loop::BackwardAfterZero, "backward_zeroed"}}) {
      benchmark::RegisterBenchmark(
          ("own_loop/" + name + (path == Path::Generic ? "/autograd/" : "/formula/") + what).c_str(),
          [rule, path, loop](benchmark::State& state) { own_loop(state, rule, path, loop); })
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    }
  }
}

const bool added = [] {
  add("dfa", DFA{});
  add("fa", FA{});
  add("bp", Backprop{});
  return true;
}();

}  // namespace
