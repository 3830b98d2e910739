// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <cmath>
#include <creditlib/concepts.hpp>
#include <creditlib/detail/output_positions.hpp>
#include <creditlib/error.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

/// Values of a target that an objective cannot take, such as labels beyond the classes, on a device: an objective's check
/// looks at values on the CPU alone, since looking at others waits for their device.
namespace creditlib::detail {

/// What a batch's target was found to be, on its device: the least and the largest of one value in range and all that are
/// out of it.
struct RangeFinding {
  torch::Tensor extremes = {};  ///< (2); undefined if nobody had to look
  std::vector<std::int64_t> logits_sizes = {}, target_sizes = {};

  bool defined() const { return extremes.defined(); }
  /// Whether a value is out of range, NaN included. Waits for the device.
  bool wrong() const {
    const auto here = extremes.cpu();
    return !here[0].equal(here[1]) || here[0].isnan().item<bool>();
  }
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
      const auto out_of_range = at::where(within.ne(target), target, within.flatten()[0]);
      const auto extremes = torch::empty({2}, target.options());
      auto least = extremes[0], most = extremes[1];
      at::aminmax_out(least, most, out_of_range);
      return {within, {extremes, logits.sizes().vec(), target.sizes().vec()}};
    }
  }
  return {target};
}

/// What the objective's check says of the value that was wrong, in a batch of one on the CPU.
template <class Objective>
std::string range_error(const Objective& objective, const RangeFinding& finding) {
  const auto dimensions = finding.logits_sizes.size();
  const auto classes = static_cast<std::size_t>(class_dimension(static_cast<std::int64_t>(dimensions)));
  std::vector<std::int64_t> logits(dimensions, 1), target(finding.target_sizes.size(), 1);
  logits[classes] = finding.logits_sizes[classes];
  if (finding.target_sizes == finding.logits_sizes) target = logits;
  auto extremes = finding.extremes.cpu();
  if (extremes.is_floating_point()) extremes = extremes.masked_fill(extremes.isnan(), NAN);  // without a sign
  const auto dtype = extremes.is_floating_point() ? extremes.scalar_type() : torch::kFloat32;
  try {
    for (const auto i : {1, 0}) objective.check(torch::zeros(logits, dtype), extremes[i].expand(target));
  } catch (const Error& error) {
    return error.what();
  }
  return c10::str("A target is ", extremes[0].item(), " or ", extremes[1].item(), ", one of which is out of range.");
}

/// Throws Error for a value out of range at once. Waits for the device.
template <class Objective>
void refuse_out_of_range(const Objective& objective, const torch::Tensor& logits, const torch::Tensor& target) {
  const auto finding = ranged_target(objective, logits, target).finding;
  if (finding.defined() && finding.wrong()) throw Error(range_error(objective, finding));
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
