// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cstddef>
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

/// Scales the gradients at the positions `group` together so that their joint Euclidean norm is at most `most`.
///
///     g <- g min(1, most / (||g|| + 1e-6))
///
/// Replaces entries of `gradients` and leaves the tensors that it held unchanged; undefined entries are skipped. Gives
/// the same numbers as torch.nn.utils.clip_grad_norm_, without waiting for the device.
inline void clip_norm(std::vector<torch::Tensor>& gradients, const std::vector<std::size_t>& group, double most) {
  const torch::NoGradGuard no_grad;
  const auto own = detail::defined_at(gradients, group);
  if (own.empty()) return;
  const auto norm = detail::joint_norm(own);
  const auto scaled = at::_foreach_mul(own, norm.add(1e-6).reciprocal_().mul_(most).clamp_max_(1));
  std::size_t next = 0;
  for (const auto i : group) {
    if (gradients[i].defined()) gradients[i] = scaled[next++];
  }
}

}  // namespace creditlib::optim
