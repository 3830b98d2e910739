// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/types.h>

#include <creditlib/factored_credit.hpp>

namespace creditlib {

/// Leaves credit unchanged.
struct Raw {
  torch::Tensor operator()(torch::Tensor a) const { return a; }
  FactoredCredit factored(const FactoredCredit& a) const { return a; }
};

}  // namespace creditlib
