// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/distributed/group.hpp>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace creditlib::detail {

/// Replaces means over this rank's `samples` by those over the samples of all ranks, and `totals`, numbers, by their sums
/// over all ranks: one message. Returns the number of all samples.
///
/// - `like` has a tensor of each mean's sizes, all of one dtype and device. A mean that is undefined counts as 0, and
///   stays undefined if it is so on all ranks.
/// - Means that come back are views of one tensor, equal to the bit on all ranks.
inline torch::Tensor joint_mean(distributed::Group& group, std::vector<torch::Tensor>& means,
                                const std::vector<torch::Tensor>& like, std::int64_t samples,
                                std::vector<torch::Tensor>& totals, const torch::TensorOptions& options) {
  const torch::NoGradGuard no_grad;
  std::int64_t numbers = 0;
  for (const auto& each : like) numbers += each.numel();
  const auto own = static_cast<double>(samples);
  const auto weight = torch::scalar_tensor(own, torch::TensorOptions(torch::kFloat64));
  const auto count = static_cast<std::int64_t>(means.size()), others = static_cast<std::int64_t>(totals.size());
  // The means' numbers; for each, whether it is defined; totals; samples.
  const auto message = torch::empty({numbers + count + others + 1}, options.requires_grad(false));
  const auto sums = message.narrow(0, 0, numbers), defined = message.narrow(0, numbers, count);
  const auto total = [&](std::size_t i) { return message[numbers + count + static_cast<std::int64_t>(i)]; };
  const auto each_part = [&](const auto& action) {
    std::int64_t first = 0;
    for (std::size_t i = 0; i < means.size(); ++i) {
      action(sums.narrow(0, first, like[i].numel()).view(like[i].sizes()), i);
      first += like[i].numel();
    }
  };
  defined.zero_();
  each_part([&](torch::Tensor part, std::size_t i) {
    if (means[i].defined()) {
      at::mul_out(part, means[i], weight);
      defined[static_cast<std::int64_t>(i)].fill_(1);
    } else {
      part.zero_();
    }
  });
  for (std::size_t i = 0; i < totals.size(); ++i) total(i).copy_(totals[i]);
  const auto all = message[-1].fill_(own);

  group.sum({message});

  sums.div_(all.clone());
  const auto exists = defined.to(torch::kCPU, torch::kFloat64);
  each_part([&](const torch::Tensor& part, std::size_t i) {
    means[i] = exists[static_cast<std::int64_t>(i)].item<double>() == 0 ? torch::Tensor() : part;
  });
  for (std::size_t i = 0; i < totals.size(); ++i) totals[i] = total(i);
  return all;
}

}  // namespace creditlib::detail
