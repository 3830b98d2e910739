// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <creditlib/closed_form/network.hpp>
#include <creditlib/detail/team.hpp>
#include <cstdint>
#include <variant>

namespace creditlib::detail {

/// One of `of` shares of a tensor's rows or columns, as even as whole numbers allow; an undefined tensor has undefined
/// ones.
struct Share {
  std::int64_t index = 0, of = 1;

  torch::Tensor rows(const torch::Tensor& t) const { return cut(t, 0); }
  torch::Tensor columns(const torch::Tensor& t) const { return cut(t, 1); }

 private:
  torch::Tensor cut(const torch::Tensor& t, std::int64_t dim) const {
    if (of == 1 || !t.defined()) return t;
    const auto first = t.size(dim) * index / of, end = t.size(dim) * (index + 1) / of;
    return t.narrow(dim, first, end - first);
  }
};

/// The multiplications of a forward pass, for each sample.
inline std::int64_t multiplications(const closed_form::Network& network) {
  std::int64_t sum = 0;
  const auto add = [&](const closed_form::Stage& stage) {
    for (const auto& layer : stage) {
      if (const auto* linear = std::get_if<closed_form::Linear>(&layer)) sum += linear->weight.numel();
    }
  };
  add(network.embed);
  for (const auto& block : network.blocks) add(block);
  add(network.readout);
  return sum;
}

/// In how many shares to do a pass over a batch of `rows`, `work` multiplications each: as many as threads can help, but
/// none of fewer than 8 rows or of a few microseconds.
inline std::int64_t shares_of(std::int64_t rows, std::int64_t work, torch::Device device) {
  if (!device.is_cpu()) return 1;
  return std::max<std::int64_t>(1, std::min({team_size(), rows / 8, rows * work / 500'000}));
}

}  // namespace creditlib::detail
