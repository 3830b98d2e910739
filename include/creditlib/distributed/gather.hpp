// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/sample_range.hpp>
#include <creditlib/distributed/group.hpp>
#include <cstdint>
#include <vector>

namespace creditlib::distributed {

/// What belongs to the samples of all processes.
struct Gathered {
  std::vector<torch::Tensor> all;  ///< (B, ...) each, in the order of ranks
  std::int64_t first = 0;          ///< where this process' samples begin
  std::int64_t count = 0;          ///< B_r, how many they are
};

/// Puts together what each process has of its own samples, (B_r, ...), for a loss that compares the samples of a batch. A
/// small message and a large one; none in one process.
///
/// - Tensors have the same sizes on all ranks but for B_r, and are floating-point or whole numbers.
/// - A gradient in `all` reaches this process' own rows. The rows of others are constants, so that the gradient which a
///   loss of other samples has in own ones is missing from a loss of own samples alone: own_losses() puts it there.
inline Gathered gather(Group& group, const std::vector<torch::Tensor>& own) {
  const auto count = own.empty() ? 0 : own[0].size(0);
  if (group.size() == 1 || own.empty()) return {own, 0, count};
  const auto range = detail::sample_range(group, count, own[0].device());
  const auto before = range.first, samples = range.all;

  Gathered gathered{.all = {}, .first = before, .count = count};
  for (const auto& each : own) {
    auto sizes = each.sizes().vec();
    sizes[0] = samples;
    gathered.all.push_back(torch::zeros(sizes, each.options().requires_grad(false)));
    gathered.all.back().narrow(0, before, count).copy_(each.detach());
  }
  group.sum(gathered.all);
  for (std::size_t i = 0; i < own.size(); ++i) {
    if (!own[i].requires_grad()) continue;
    const auto& all = gathered.all[i];
    const auto after = before + count;
    gathered.all[i] = at::cat({all.narrow(0, 0, before), own[i], all.narrow(0, after, samples - after)});
  }
  return gathered;
}

/// From the losses of all samples, (B), computed from what gather() has put together, those of this process' samples,
/// (B_r), whose sum has the gradient of the sum of all in what this process has: what a rule that compares samples descends
/// in one process.
inline torch::Tensor own_losses(const Gathered& gathered, const torch::Tensor& losses) {
  if (losses.size(0) == gathered.count) return losses;
  const auto own = losses.narrow(0, gathered.first, gathered.count);
  const auto of_others = losses.sum() - own.sum();
  return own + (of_others - of_others.detach()) / static_cast<double>(gathered.count);
}

}  // namespace creditlib::distributed
