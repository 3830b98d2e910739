// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <creditlib/audit/check.hpp>
#include <creditlib/diagnostics/growth.hpp>
#include <utility>
#include <vector>

namespace creditlib {
namespace detail {

/// A hidden state always has a norm: a missing one was not finite, which is unbounded growth.
inline audit::Check unbounded_where_missing(audit::Check check, const std::vector<diagnostics::Measured>& norms) {
  for (const auto& norm : norms) {
    if (norm.value) continue;
    check.value = {.reason = norm.reason};
    check.fired = true;
    break;
  }
  return check;
}

}  // namespace detail

namespace audit {

/// D1, scale growth: max over l = 0..L-1 of median|h_{l+1}| / median|h_l|; fires above 50.
///
/// `norms` are median_norms() of h_0..h_L. The check also fires, with the reason, if one of them is not finite.
inline Check scale_growth(const std::vector<diagnostics::Measured>& norms, double threshold = 50) {
  return detail::unbounded_where_missing(
      checked("D1", "largest median|h_{l+1}| / median|h_l|", diagnostics::largest(diagnostics::growth_between(norms)),
              threshold, Fires::Above),
      norms);
}

/// D1 since init: max over l = 0..L of median|h_l| now / median|h_l| at init; fires above 50.
///
/// scale_growth() starts at h_0 and so misses a network whose embed has grown (as under a penalty on the blocks), and
/// one that grows by less than 50 in each of many blocks.
///
/// - Both lists are of the same batch.
/// - Also fires, with the reason, if a norm now is not finite.
/// - Throws Error unless both lists have the same length.
inline Check scale_growth_since_init(const std::vector<diagnostics::Measured>& norms,
                                     const std::vector<diagnostics::Measured>& at_init, double threshold = 50) {
  return detail::unbounded_where_missing(
      checked("D1 since init", "largest median|h_l| now / at init",
              diagnostics::largest(diagnostics::growth_since(norms, at_init)), threshold, Fires::Above),
      norms);
}

}  // namespace audit
}  // namespace creditlib

namespace creditlib {
namespace protocol = audit;  // deprecated name
}
