// SPDX-License-Identifier: Apache-2.0
// Batches of 128 out of 50,000 images of 3 x 32 x 32, random ones, in a new order each epoch; one thread.

#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include <creditlib/data/batches.hpp>

namespace {

using namespace creditlib;

const data::Dataset& images() {
  static const data::Dataset dataset{.name = "cifar10-like",
                                     .images = torch::randint(0, 256, {50'000, 3, 32, 32}, torch::kUInt8),
                                     .labels = torch::randint(0, 10, {50'000}, torch::kInt64),
                                     .classes = 10,
                                     .mean = {0.4914, 0.4822, 0.4465},
                                     .deviation = {0.2470, 0.2435, 0.2616}};
  return dataset;
}

/// One batch an iteration, and in one of 390 the draws of the epoch that it begins.
void make_batches(benchmark::State& state, bool augment) {
  at::set_num_threads(1);
  data::Batches batches(images(), {.batch_size = 128, .augment = augment, .flatten = true, .drop_last = true});
  auto batch = batches.begin();
  for (auto _ : state) {
    if (++batch == batches.end()) batch = batches.begin();
    benchmark::DoNotOptimize(batch->input.data_ptr());
  }
  state.SetItemsProcessed(state.iterations() * 128);
}

BENCHMARK_CAPTURE(make_batches, augmented, true)
    ->Name("batches/augmented/cifar10-like")
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(make_batches, plain, false)
    ->Name("batches/plain/cifar10-like")
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
