// SPDX-License-Identifier: Apache-2.0
#include "snapshot_time_sweep/fixed_batches.hpp"

#include <cstddef>
#include <cstdint>
#include <utility>

namespace sweep {
namespace {

using creditlib::data::Batch;
using creditlib::data::Batches;

constexpr std::int64_t rollout_steps = 5, batches_across = 4;

/// n batches, over several epochs where one has fewer.
std::vector<Batch> first(Batches batches, std::int64_t n) {
  std::vector<Batch> list;
  while (static_cast<std::int64_t>(list.size()) < n) {
    for (const auto& batch : batches) {
      if (static_cast<std::int64_t>(list.size()) < n) list.push_back(batch);
    }
  }
  return list;
}

/// Up to n batches of one epoch, without a short last one.
std::vector<Batch> full_ones(Batches batches, std::size_t n, std::int64_t size) {
  std::vector<Batch> list;
  for (const auto& batch : batches) {
    if (list.size() < n && batch.input.size(0) == size) list.push_back(batch);
  }
  return list;
}

}  // namespace

FixedBatches::FixedBatches(const Settings& s, const support::Workbench& bench) {
  const auto shuffled = [&](const creditlib::data::Dataset& dataset, bool augment, std::int64_t stream) {
    return Batches(dataset,
                   {.batch_size = s.run.batch_size, .augment = augment, .flatten = true, .seed = s.seed + stream});
  };
  const auto& splits = bench.splits();
  const bool from_test = s.held_out == "test";
  auto training = first(shuffled(splits.train, splits.augment, 1), 2 + batches_across + rollout_steps);
  same = training[0];
  held = from_test ? first(shuffled(splits.test, false, 2), 1)[0] : training[1];
  across.assign(training.begin() + 2, training.begin() + 2 + batches_across);
  rollout.assign(training.begin() + 2 + batches_across, training.end());

  const auto trials = static_cast<std::size_t>(s.trials);
  auto full =
      full_ones(shuffled(splits.train, splits.augment, 3), 1 + (from_test ? trials : 2 * trials), s.run.batch_size);
  auto full_held =
      from_test ? full_ones(shuffled(splits.test, false, 4), trials, s.run.batch_size) : std::vector<Batch>{};
  if (full.empty()) return;
  trial_eta.push_back(full.back());
  full.pop_back();
  if (!from_test) {
    const auto middle = full.begin() + static_cast<std::ptrdiff_t>(full.size() / 2);
    full_held.assign(middle, full.end());
    full.erase(middle, full.end());
  }
  trial = std::move(full);
  trial_held = std::move(full_held);
}

}  // namespace sweep
