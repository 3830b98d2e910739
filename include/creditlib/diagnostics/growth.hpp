#pragma once

#include <creditlib/statistics/measured.hpp>
#include <creditlib/error.hpp>
#include <string>
#include <vector>

namespace creditlib::diagnostics {

/// above / below, where both are there and `below` is not 0.
inline Measured quotient(const Measured& above, const Measured& below) {
  if (!above.value) return {.reason = above.reason};
  if (!below.value) return {.reason = below.reason};
  if (*below.value == 0) return {.reason = "the norm to compare with is 0"};
  return {.value = *above.value / *below.value};
}

/// Growth from one hidden state to the next: median|h_{l+1}| / median|h_l|, l = 0..L-1, of the norms of h_0..h_L that
/// median_norms() gives.
inline std::vector<Measured> growth_between(const std::vector<Measured>& norms) {
  std::vector<Measured> growth;
  for (std::size_t l = 0; l + 1 < norms.size(); ++l) growth.push_back(quotient(norms[l + 1], norms[l]));
  return growth;
}

/// Growth since the start of training: median|h_l| now / median|h_l| at init, l = 0..L, on the same batch. It sees h_0
/// grow, which growth_between() does not. Throws Error unless there are as many of both.
inline std::vector<Measured> growth_since(const std::vector<Measured>& norms, const std::vector<Measured>& at_init) {
  if (norms.size() != at_init.size()) {
    detail::fail("growth_since: ", norms.size(), " norms now and ", at_init.size(),
                            " at init, expected one for each of h_0..h_L.");
  }
  std::vector<Measured> growth;
  for (std::size_t l = 0; l < norms.size(); ++l) growth.push_back(quotient(norms[l], at_init[l]));
  return growth;
}

/// The largest among those that have a value.
inline Measured largest(const std::vector<Measured>& values) {
  Measured most{.reason = values.empty() ? "there is nothing to compare" : values.front().reason};
  for (const auto& value : values) {
    if (value.value && (!most.value || *value.value > *most.value)) most = value;
  }
  return most;
}

/// The smallest among those that have a value.
inline Measured smallest(const std::vector<Measured>& values) {
  Measured least{.reason = values.empty() ? "there is nothing to compare" : values.front().reason};
  for (const auto& value : values) {
    if (value.value && (!least.value || *value.value < *least.value)) least = value;
  }
  return least;
}

}  // namespace creditlib::diagnostics
