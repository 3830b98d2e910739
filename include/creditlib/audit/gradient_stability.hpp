// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <creditlib/audit/check.hpp>

namespace creditlib::audit {

/// Stability: the mean pairwise cosine of batch-mean gradients at layer L/2 over at least 8 disjoint batches; fires
/// above a ceiling of .30. The value is diagnostics::stability()'s.
inline Check gradient_stability(const diagnostics::Measured& stability, double ceiling = 0.30) {
  return checked("stability", "mean pairwise cosine of batch-mean gradients at layer L/2", stability, ceiling,
                 Fires::Above);
}

}  // namespace creditlib::audit

namespace creditlib {
namespace protocol = audit;  // deprecated name
}
