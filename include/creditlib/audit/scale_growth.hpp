#pragma once

#include <algorithm>
#include <creditlib/diagnostics/growth.hpp>
#include <creditlib/audit/check.hpp>
#include <utility>
#include <vector>

namespace creditlib {
namespace detail {

/// A hidden state always has a norm: one that is missing was not finite, and that is growth without bound.
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

/// D1, scale growth, as published: max over l = 0..L-1 of median|h_{l+1}| / median|h_l|, fires above 50.
///
/// `norms` are median_norms() of h_0..h_L. It fires, with the reason, where one of them is not finite.
inline Check scale_growth(const std::vector<diagnostics::Measured>& norms, double threshold = 50) {
  return detail::unbounded_where_missing(
      checked("D1", "largest median|h_{l+1}| / median|h_l|", diagnostics::largest(diagnostics::growth_between(norms)),
              threshold, Fires::Above),
      norms);
}

/// D1 as it should be: max over l = 0..L of median|h_l| now / median|h_l| at init, fires above 50.
///
/// The published one starts at h_0 and so misses a network whose embed has grown (as under a penalty on the blocks),
/// and one that grows by less than 50 in each of many blocks. Both lists on the same batch. It fires, with the reason,
/// where a norm now is not finite. Throws Error unless there are as many of both.
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
