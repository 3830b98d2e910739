// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/concepts.hpp>
#include <creditlib/detail/output_positions.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

/// Values of a target that an objective cannot take, such as labels beyond the classes, on a device: an objective's check
/// looks at values on the CPU alone, since looking at others waits for their device.
namespace creditlib::detail {

/// What a batch's target was found to be, on its device.
struct RangeFinding {
  torch::Tensor wrong = {};  ///< whether a value is out of range, a bool scalar; undefined if nobody had to look
  torch::Tensor value = {};  ///< the largest that is, a scalar; without meaning if none is
  std::vector<std::int64_t> logits_sizes = {}, target_sizes = {};
};

/// A target that a step can take whatever it was, and what was found. Waits for nothing.
struct RangedTarget {
  torch::Tensor target;
  RangeFinding finding = {};
};
template <class Objective>
RangedTarget ranged_target(const Objective& objective, const torch::Tensor& logits, const torch::Tensor& target) {
  if constexpr (BringsIntoRange<Objective>) {
    const torch::NoGradGuard no_grad;
    if (target.numel() == 0) return {target};
    if (const torch::Tensor within = objective.in_range(logits, target); within.defined()) {
      const auto wrong = within.ne(target);
      const auto value = target.is_floating_point()
                             ? at::where(wrong, target, -std::numeric_limits<double>::infinity())
                             : at::where(wrong, target, std::numeric_limits<std::int64_t>::min());
      return {within, {wrong.any(), value.amax(), logits.sizes().vec(), target.sizes().vec()}};
    }
  }
  return {target};
}

/// What the objective's check says of such a value, in a batch of one on the CPU.
template <class Objective>
std::string range_error(const Objective& objective, const RangeFinding& finding) {
  const auto dimensions = finding.logits_sizes.size();
  const auto classes = static_cast<std::size_t>(class_dimension(static_cast<std::int64_t>(dimensions)));
  std::vector<std::int64_t> logits(dimensions, 1), target(finding.target_sizes.size(), 1);
  logits[classes] = finding.logits_sizes[classes];
  if (finding.target_sizes == finding.logits_sizes) target = logits;
  const auto value = finding.value.cpu();
  const auto dtype = value.is_floating_point() ? value.scalar_type() : torch::kFloat32;
  try {
    objective.check(torch::zeros(logits, dtype), value.expand(target));
  } catch (const Error& error) {
    return error.what();
  }
  return c10::str("A target is ", value.item(), ", which is out of range.");
}

/// Throws Error for a value out of range at once. Waits for the device.
template <class Objective>
void refuse_out_of_range(const Objective& objective, const torch::Tensor& logits, const torch::Tensor& target) {
  const auto finding = ranged_target(objective, logits, target).finding;
  if (finding.wrong.defined() && finding.wrong.template item<bool>()) throw Error(range_error(objective, finding));
}

/// Throws Error for a target that the objective cannot take: one that its check refuses and, on a device too, which this
/// waits for, one with a value out of range. A target of floating point may be of another dtype than the logits, which
/// a measurement may compute in float64.
template <class Objective>
void check_target(const Objective& objective, const torch::Tensor& logits, const torch::Tensor& target) {
  const bool converted = target.defined() && target.is_floating_point();
  objective.check(logits, converted ? target.to(logits.scalar_type()) : target);
  refuse_out_of_range(objective, logits, target);
}

}  // namespace creditlib::detail
