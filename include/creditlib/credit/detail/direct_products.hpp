// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/detail/stacked.hpp>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace creditlib::detail {

/// e_l B_l^T for each matrix B_l, (rows, C), that is defined, of e_l (B, C) or (B, N, C). On a device matrices of one
/// shape that take the same e (B, C) are one product, whose parts lie in memory one after another.
inline std::vector<torch::Tensor> direct_products(const std::vector<torch::Tensor>& e,
                                                  const std::vector<torch::Tensor>& feedback) {
  std::vector<torch::Tensor> products(feedback.size());
  for (std::size_t l = 0; l < feedback.size(); ++l) {
    if (!feedback[l].defined() || products[l].defined()) continue;
    std::vector<std::size_t> alike{l};
    std::vector<torch::Tensor> matrices{feedback[l]};
    for (auto m = l + 1; m < feedback.size() && e[l].dim() == 2 && !e[l].is_cpu(); ++m) {
      if (!feedback[m].defined() || !e[m].is_same(e[l]) || feedback[m].sizes() != feedback[l].sizes()) continue;
      alike.push_back(m);
      matrices.push_back(feedback[m]);
    }
    if (alike.size() == 1) {
      products[l] = e[l].matmul(feedback[l].t());
      continue;
    }
    const auto n = static_cast<std::int64_t>(alike.size());
    const auto all = at::bmm(e[l].expand({n, -1, -1}), stacked(matrices).transpose(1, 2));
    for (std::size_t i = 0; i < alike.size(); ++i) products[alike[i]] = all[static_cast<std::int64_t>(i)];
  }
  return products;
}

}  // namespace creditlib::detail
