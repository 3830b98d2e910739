// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/error.hpp>
#include <creditlib/statistics/measured.hpp>
#include <string>
#include <vector>

namespace creditlib::diagnostics {

/// above / below; undefined if one of them is, or if `below` is 0.
inline Measured quotient(const Measured& above, const Measured& below) {
  if (!above.value) return {.reason = above.reason};
  if (!below.value) return {.reason = below.reason};
  if (*below.value == 0) return {.reason = "the norm to compare with is 0"};
  return {.value = *above.value / *below.value};
}

/// Growth from one hidden state to the next: median|h_{l+1}| / median|h_l| for l = 0..L-1. `norms` are median_norms()
/// of h_0..h_L.
inline std::vector<Measured> growth_between(const std::vector<Measured>& norms) {
  std::vector<Measured> growth;
  for (std::size_t l = 0; l + 1 < norms.size(); ++l) growth.push_back(quotient(norms[l + 1], norms[l]));
  return growth;
}

/// Growth since the start of training: median|h_l| now / median|h_l| at init for l = 0..L, on the same batch. It
/// includes the growth of h_0, which growth_between() does not. Throws Error unless both lists have the same length.
inline std::vector<Measured> growth_since(const std::vector<Measured>& norms, const std::vector<Measured>& at_init) {
  if (norms.size() != at_init.size()) {
    detail::fail("growth_since: ", norms.size(), " norms now and ", at_init.size(),
                 " at init, expected one for each of h_0..h_L.");
  }
  std::vector<Measured> growth;
  for (std::size_t l = 0; l < norms.size(); ++l) growth.push_back(quotient(norms[l], at_init[l]));
  return growth;
}

/// The largest defined value.
inline Measured largest(const std::vector<Measured>& values) {
  Measured most{.reason = values.empty() ? "there is nothing to compare" : values.front().reason};
  for (const auto& value : values) {
    if (value.value && (!most.value || *value.value > *most.value)) most = value;
  }
  return most;
}

/// The smallest defined value.
inline Measured smallest(const std::vector<Measured>& values) {
  Measured least{.reason = values.empty() ? "there is nothing to compare" : values.front().reason};
  for (const auto& value : values) {
    if (value.value && (!least.value || *value.value < *least.value)) least = value;
  }
  return least;
}

}  // namespace creditlib::diagnostics
