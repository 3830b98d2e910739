// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/credit/signal.hpp>
#include <creditlib/detail/describe.hpp>
#include <creditlib/detail/output_positions.hpp>
#include <creditlib/error.hpp>
#include <creditlib/trace.hpp>

namespace creditlib::detail {

/// Throws Error unless a target can be projected: class indices per sample or position, or numbers of the logits' shape
/// that, on the CPU, lie in 0..1.
inline void check_projected_target(const torch::Tensor& error, const torch::Tensor& target) {
  auto indices = error.sizes().vec();
  indices.erase(indices.begin() + class_dimension(error.dim()));
  if (target.scalar_type() == torch::kInt64 && target.sizes() == torch::IntArrayRef(indices)) return;
  if (!target.is_floating_point() || target.sizes() != error.sizes()) {
    fail("Signal::Target: the target is ", tensor_text(target), ", expected class indices, ", shape_text(indices),
         " int64, or a distribution over the classes, ", shape_text(error.sizes()), ".");
  }
  if (!target.is_cpu() || target.numel() == 0) return;
  const auto [least, most] = target.aminmax();
  const double low = least.item<double>(), high = most.item<double>();
  if (low >= 0 && high <= 1) return;
  fail("Signal::Target: a target is ", low < 0 ? low : high,
       ", expected 0 to 1: only there does a target tell the sign of the error; use Signal::Sign or Signal::Error for "
       "a regression.");
}

/// -onehot(y) in the error's shape for class indices, 0 for those that the objective does not count, whose error is 0
/// whatever the logits are; -y for a distribution.
inline torch::Tensor minus_target(const Trace& trace) {
  const auto &error = trace.error, &target = trace.target;
  check_projected_target(error, target);
  if (target.is_floating_point()) return -target.to(error.options());
  const auto dimension = class_dimension(error.dim());
  const auto label = target.unsqueeze(dimension);
  const auto in_range = label.ge(0).logical_and_(label.lt(error.size(dimension)));
  const auto onehot = torch::zeros_like(error).scatter_(dimension, label.where(in_range, 0), in_range.to(error));
  // Logits that speak against the label: whatever counts has an error there.
  const auto counts = trace.error_at(-onehot).ne(0).any(dimension, /*keepdim=*/true);
  return -onehot * counts;
}

/// The signal of a finished pass, in the error's shape. Throws Error for a target that Signal::Target cannot project.
inline torch::Tensor signal_of(Signal signal, const Trace& trace) {
  switch (signal) {
    case Signal::Sign: return trace.error.sign();
    case Signal::Target: return minus_target(trace);
    case Signal::Error: break;
  }
  return trace.error;
}

}  // namespace creditlib::detail
