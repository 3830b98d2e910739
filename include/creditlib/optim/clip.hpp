// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace creditlib::detail {

/// The tensors at these positions, without those that are undefined.
inline std::vector<torch::Tensor> defined_at(const std::vector<torch::Tensor>& tensors,
                                             const std::vector<std::size_t>& positions) {
  std::vector<torch::Tensor> defined;
  for (const auto i : positions) {
    if (tensors[i].defined()) defined.push_back(tensors[i]);
  }
  return defined;
}

/// The Euclidean norm of all of these tensors together, a scalar on their device; there must be one.
inline torch::Tensor joint_norm(const std::vector<torch::Tensor>& tensors) {
  return at::linalg_vector_norm(at::stack(at::_foreach_norm(tensors)));
}

}  // namespace creditlib::detail

namespace creditlib::optim {

/// Scales the gradients at the positions of each group together so that their joint Euclidean norm is at most `most`.
///
///     g <- g min(1, most / (||g|| + 1e-6))
///
/// Replaces entries of `gradients` and leaves the tensors that it held unchanged; undefined entries are skipped. Gives
/// the same numbers as torch.nn.utils.clip_grad_norm_, without waiting for the device, and with two kernels for each
/// group beside six for all.
inline void clip_norms(std::vector<torch::Tensor>& gradients, const std::vector<std::vector<std::size_t>>& groups,
                       double most) {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> all;
  std::vector<std::vector<std::size_t>> present;  // the groups without what is undefined
  for (const auto& group : groups) {
    auto& own = present.emplace_back();
    for (const auto i : group) {
      if (!gradients[i].defined()) continue;
      own.push_back(i);
      all.push_back(gradients[i]);
    }
    if (own.empty()) present.pop_back();
  }
  if (all.empty()) return;
  const auto norms = at::stack(at::_foreach_norm(all));
  const auto factors = torch::empty({static_cast<std::int64_t>(present.size())}, norms.options());
  std::int64_t first = 0;
  for (std::size_t g = 0; g < present.size(); ++g) {
    const auto count = static_cast<std::int64_t>(present[g].size());
    auto joint = factors[static_cast<std::int64_t>(g)];
    at::linalg_vector_norm_out(joint, norms.narrow(0, first, count));
    first += count;
  }
  factors.add_(1e-6).reciprocal_().mul_(most).clamp_max_(1);
  for (std::size_t g = 0; g < present.size(); ++g) {
    const auto scaled =
        at::_foreach_mul(detail::defined_at(gradients, present[g]), factors[static_cast<std::int64_t>(g)]);
    for (std::size_t i = 0; i < scaled.size(); ++i) gradients[present[g][i]] = scaled[i];
  }
}

/// The same for one group.
inline void clip_norm(std::vector<torch::Tensor>& gradients, const std::vector<std::size_t>& group, double most) {
  clip_norms(gradients, {group}, most);
}

}  // namespace creditlib::optim
