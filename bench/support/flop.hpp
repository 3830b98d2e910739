// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

namespace bench {

/// Multiplications and additions of the matrix products, convolutions and attentions that run while f() does: 2 m k n
/// for (m, k) times (k, n), whatever computes it. Counted are LibTorch's operators that this thread calls, and the
/// backward passes that it starts; elementwise operations, sums and loops of one's own are not. Not to be called by two
/// threads at once: each would count both.
double product_flop(const std::function<void()>& f);

}  // namespace bench
